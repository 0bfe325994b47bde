"""What entries share: their files at both sizes, and the results of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

import fwdmft
from fwdmft.experiment.model import Experiment
from fwdmft.experiment.reading import read_mapping
from fwdmft.sweeping.spec import Sweep

HERE = Path(__file__).resolve().parent


def load(stem: str, changes: Mapping[str, Any]) -> Sweep | Experiment:
    """The sweep or experiment in STEM.yaml, with `changes` (nested as the file is) made."""
    values = merged(read_mapping(HERE / f"{stem}.yaml"), changes)
    return fwdmft.load_sweep(values, home=HERE) if "base" in values else fwdmft.load_experiment(values, base=HERE)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, mapping by mapping; anything else is replaced."""
    computed = dict(values)
    for name, change in changes.items():
        below = computed.get(name)
        computed[name] = merged(below, change) if isinstance(change, Mapping) and isinstance(below, Mapping) else change
    return computed


class Results:
    """The computed files of an entry, by stem, and measurements of its own that are kept beside them.

    changes: what is different from each file, empty at full size.
    """

    def __init__(self, home: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
        self.home, self.changes = home, changes

    @property
    def quick(self) -> bool:
        """Whether sizes are small."""
        return bool(self.changes)

    def load(self, stem: str) -> Sweep | Experiment:
        """The sweep or experiment of a file, at the size wanted."""
        return load(stem, self.changes.get(stem, {}))

    def __getitem__(self, stem: str) -> xr.DataTree:
        path = self.home / stem
        return fwdmft.open_sweep(path) if path.is_dir() else fwdmft.open_result(path.with_suffix(".nc"))

    def settings(self, stem: str) -> dict[str, Any]:
        """What the file says at the size that was computed; of a sweep, its base."""
        loaded = self.load(stem)
        return dict(loaded.base) if isinstance(loaded, Sweep) else loaded.model_dump(mode="json")

    def measured(self, name: str, measure: Callable[[], xr.Dataset]) -> xr.Dataset:
        """What `measure` returns, computed the first time and then read from NAME.nc."""
        path = self.home / f"{name}.nc"
        if not path.exists():
            measure().to_netcdf(path)
        return xr.load_dataset(path)
