"""Results open in readers that know nothing of fwdmft: h5netcdf, `ncdump -h` and R where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr

from fwdmft.results.write import write_result

READ_BY_R = """
file <- ncdf4::nc_open(commandArgs(trailingOnly = TRUE))
cat(dim(ncdf4::ncvar_get(file, "theory/prediction_variance")), "\\n")
cat(ncdf4::ncvar_get(file, "ensemble/width"), "\\n")
cat(ncdf4::ncvar_get(file, "data/split"), "\\n")
cat(ncdf4::ncatt_get(file, 0, "schema_version")$value, "\\n")
"""


@pytest.fixture(scope="module")
def result() -> xr.DataTree:
    return stand_ins.tree()


@pytest.fixture(scope="module")
def path(result: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(result, tmp_path_factory.mktemp("readers") / "result.nc")


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


def test_r(path: Path) -> None:
    """Its package ncdf4, r-cran-ncdf4 in Debian; dimensions come in the order of Fortran, without those of size 1."""
    if "TRUE" not in output_of("Rscript", "-e", "cat(requireNamespace('ncdf4', quietly = TRUE))"):
        pytest.skip("the package ncdf4 of R is not installed")
    lines = output_of("Rscript", "-e", READ_BY_R, path).splitlines()
    splits = " ".join(["train"] * stand_ins.TRAINED + ["test"] * (stand_ins.POINTS - stand_ins.TRAINED))
    expected = [f"{stand_ins.POINTS} {stand_ins.STEPS}", " ".join(map(str, stand_ins.WIDTHS)), splits, "2.1"]
    assert [line.strip() for line in lines] == expected
