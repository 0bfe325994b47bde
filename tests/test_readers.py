"""Results open in readers that know nothing of fwdmft: h5netcdf, `ncdump -h` and R where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from pages import DOCS, blocks

from fwdmft.results.write import write_result


@pytest.fixture(scope="module")
def result() -> xr.DataTree:
    return stand_ins.tree()


@pytest.fixture(scope="module")
def path(result: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(result, tmp_path_factory.mktemp("readers") / "digits.nc")


def output_of(*command: object) -> str:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def test_h5netcdf(result: xr.DataTree, path: Path) -> None:
    h5netcdf = pytest.importorskip("h5netcdf")
    with h5netcdf.File(path) as file:
        variance = file["theory"]["prediction_variance"]
        assert variance.dimensions == ("time", "point", "output") and variance.attrs["units"] == "count"
        np.testing.assert_array_equal(variance[...], result["theory/prediction_variance"])
        assert file.attrs["schema_version"] == "2.1"


def test_ncdump(path: Path) -> None:
    text = output_of("ncdump", "-h", path)
    assert "group: theory {" in text and "double prediction_variance(time, point, output) ;" in text


def test_r(result: xr.DataTree, path: Path) -> None:
    """What the page says, with the package ncdf4 (r-cran-ncdf4 in Debian); dimensions come in the opposite order."""
    if "TRUE" not in output_of("Rscript", "-e", "cat(requireNamespace('ncdf4', quietly = TRUE))"):
        pytest.skip("the package ncdf4 of R is not installed")
    (code,) = blocks(DOCS / "howto" / "read_results.md", "r")
    script = path.with_name("read.R")
    script.write_text(f"setwd('{path.parent}')\noptions(digits = 15)\n{code}", "utf-8")
    words = re.sub(r"^ *\[.*\]", "", output_of("Rscript", script), flags=re.MULTILINE).replace('"', "").split()
    theory = result["theory/prediction_variance"].isel(time=-1, output=0)
    networks = result["ensemble/prediction_n_variance"].isel(time=-1, output=0).transpose("point", "width")
    splits = ["train"] * stand_ins.TRAINED + ["test"] * (stand_ins.POINTS - stand_ins.TRAINED)
    before = [*map(str, (1, stand_ins.POINTS, stand_ins.STEPS, *stand_ins.WIDTHS)), *splits]
    assert words[: len(before)] == before and words[-1] == "2.1"
    numbers = np.concatenate([theory.values, networks.values.ravel()])
    np.testing.assert_allclose([float(word) for word in words[len(before) : -1]], numbers, rtol=1e-14)
