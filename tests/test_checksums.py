"""Damaged results are refused when they are opened, whatever the damage; so are results of other versions."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from result_stand_ins import tree

import fwdmft
from fwdmft.results.write import open_result, write_result
from fwdmft.seals import has_seal


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.DataTree, bytes]:
    result = tree()
    return result, write_result(result, tmp_path_factory.mktemp("written") / "result.nc").read_bytes()


def test_single_bits(written: tuple[xr.DataTree, bytes], tmp_path: Path) -> None:
    """A file with a bit flipped is refused, or opens with the same contents."""
    result, whole = written
    path = tmp_path / "result.nc"
    refused = 0
    rng = np.random.default_rng(0)
    for place in (*rng.integers(0, len(whole) - 60, 55).tolist(), *range(len(whole) - 60, len(whole), 6)):
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            xr.testing.assert_identical(open_result(path), result)
        except fwdmft.InputError:
            refused += 1
    assert refused > 55


def changed(path: Path, change: Any) -> None:
    """Change a result with another tool, which does not know of the hash at the end of the file."""
    path.write_bytes(path.read_bytes()[:-47])
    assert not has_seal(path)
    with netCDF4.Dataset(path, "a") as file:
        change(file)


def test_files_from_other_tools_are_compared_with_the_hashes_of_their_variables(
    written: tuple[xr.DataTree, bytes], tmp_path: Path
) -> None:
    result, whole = written
    path = tmp_path / "result.nc"
    path.write_bytes(whole)
    changed(path, lambda file: None)
    xr.testing.assert_identical(open_result(path), result)

    def value(file: Any) -> None:
        file["theory"]["prediction"][3, 0, 0] += 1e-9

    def name(file: Any) -> None:
        file["ensemble"].renameVariable("members", "memberz")

    def attribute(file: Any) -> None:
        file["data"]["x"].long_name = "outputs"

    for change, words in (
        (value, "the values of /theory/prediction have changed"),
        (name, "names or attributes in /"),
        (attribute, "names or attributes in /"),
    ):
        path.write_bytes(whole)
        changed(path, change)
        with pytest.raises(fwdmft.InputError, match=words):
            open_result(path)


def test_variables_and_groups_carry_hashes(written: tuple[xr.DataTree, bytes], tmp_path: Path) -> None:
    (tmp_path / "result.nc").write_bytes(written[1])
    with netCDF4.Dataset(tmp_path / "result.nc") as file:
        assert all(len(group.sha256) == 64 for group in (file, *file.groups.values()))
        assert all(len(one.sha256) == 64 for group in file.groups.values() for one in group.variables.values())
        assert file["theory"]["prediction_covariance"].filters()["fletcher32"]


@pytest.mark.parametrize("version", ["0", "1.0", "99", None])
def test_other_versions_are_refused(tmp_path: Path, version: str | None) -> None:
    other = tree()
    other.attrs["schema_version"] = version or ""
    if version is None:
        del other.attrs["schema_version"]
    path = write_result(other, tmp_path / "result.nc")
    with pytest.raises(fwdmft.InputError, match=rf"this file has {version}, of fwdmft .*: compute it again"):
        open_result(path)
