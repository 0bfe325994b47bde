"""Results as other programs write them: plain xarray, nothing of fwdmft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

ROOT = {
    "title": "A theory of somebody else",
    "Conventions": "CF-1.11, fwdmft-2.1",
    "schema_version": "2.1",
    "creation_library": "theirs",
    "experiment": json.dumps({"name": "theirs", "parameterization": {"kind": "mean_field", "gamma0": 0.5}}),
}


def variable(dims: tuple[str, ...], values: Any, long_name: str = "words", units: str = "1") -> Any:
    return dims, np.asarray(values), {"long_name": long_name, "units": units}


def groups() -> dict[str, xr.Dataset]:
    """Three points and two times."""
    random = np.random.default_rng(0)
    data = {"x": variable(("point", "feature"), random.normal(size=(3, 2)))}
    data["y"] = variable(("point", "output"), random.normal(size=(3, 1)))
    f = ("time", "point", "output")
    theory = {
        "prediction": variable(f, random.normal(size=(2, 3, 1))),
        "prediction_standard_error": variable(f, np.full((2, 3, 1), 0.01)),
        "prediction_variance": variable(f, np.ones((2, 3, 1)), units="count"),
        "their_own": variable(("time",), [0.0, 1.0]),
    }
    split = {"split": variable(("point",), ["train", "train", "test"])}
    return {"data": xr.Dataset(data, split), "theory": xr.Dataset(theory, {"time": variable(("time",), [0, 5])})}


def write(path: Path, actual: dict[str, xr.Dataset], **attributes: str) -> Path:
    root = xr.Dataset(attrs=ROOT | attributes)
    xr.DataTree.from_dict({"/": root, **{f"/{name}": group for name, group in actual.items()}}).to_netcdf(path)
    return path
