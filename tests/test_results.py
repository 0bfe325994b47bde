"""The result tree and file: names, dimensions and attributes of the contract, writing, and the reports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from result_stand_ins import DEPTH, POINTS, STEPS, TRAINED, WIDTHS

from fwdmft.errors import InputError, WritingError
from fwdmft.registry import registry
from fwdmft.results import check_output, open_result, write_result

_PAIR = ("point", "output", "point_prime", "output_prime")
_THEORY_DIMS = {
    "prediction": ("time", "point", "output"),
    "tangent_kernel": ("time", *_PAIR),
    "feature_kernel": ("layer", "time", "point", "point_prime"),
    "gradient_kernel": ("layer", "time", *_PAIR),
}
_ROOT_ATTRIBUTES = {
    "title",
    "Conventions",
    "history",
    "created_at",
    "creation_library",
    "creation_library_version",
    "schema_version",
    "experiment",
    "plugins",
    "jax_version",
    "numpy_version",
    "source",
}


# --- the tree ---


def test_theory_has_every_variable_of_the_contract(reread: xr.DataTree, outputs: int) -> None:
    theory = reread["theory"]
    for name, dims in _THEORY_DIMS.items():
        for suffix in ("", "_variance", "_bias", "_standard_error", "_bias_standard_error"):
            assert theory[name + suffix].dims == dims, name + suffix
            assert theory[name + suffix].dtype == np.float64
    primed = ("time_prime", "point_prime", "output_prime")
    assert theory["prediction_covariance"].dims == (*_THEORY_DIMS["prediction"], *primed)
    assert theory["loss"].dims == ("time", "split")
    for name in ("loss_at_width", "loss_at_width_standard_error"):
        assert theory[name].dims == ("width", "time", "split")
    assert dict(theory.sizes)["layer"] == DEPTH and theory.sizes["output"] == outputs


def test_ensemble_has_every_variable_of_the_contract(reread: xr.DataTree) -> None:
    ensemble = reread["ensemble"]
    for name, dims in _THEORY_DIMS.items():
        for suffix in ("_mean", "_variance", "_mean_standard_error", "_variance_standard_error"):
            assert ensemble[name + suffix].dims == ("width", *dims), name + suffix
    for name in ("loss_mean", "loss_mean_standard_error", "ensembled_loss"):
        assert ensemble[name].dims == ("width", "time", "split")
    assert ensemble["sample_prediction"].dims == ("width", "sample", "time", "point", "output")
    assert ensemble["members"].dims == ensemble["diverged_members"].dims == ("width",)


def test_coordinates(reread: xr.DataTree) -> None:
    for half in ("theory", "ensemble"):
        group = reread[half]
        assert group["time"].values.tolist() == list(range(STEPS))
        assert group["width"].values.tolist() == list(WIDTHS)
        assert group["layer"].values.tolist() == [1, 2]
        assert group["split"].values.tolist() == ["train", "test"]
    expected = ["train"] * TRAINED + ["test"] * (POINTS - TRAINED)
    assert reread["data"]["split"].dims == ("point",)
    assert reread["data"]["split"].values.tolist() == expected


def test_every_variable_has_long_name_and_units(reread: xr.DataTree) -> None:
    for group in reread.children.values():
        for name, variable in group.to_dataset().variables.items():
            assert variable.attrs["long_name"] and variable.attrs["units"], f"{group.path}/{name}"


def test_variances_of_theory_and_networks_are_distinguished(reread: xr.DataTree) -> None:
    """N Var in the theory, Var in the ensemble: in words, in units, and with N Var beside Var."""
    theory, ensemble = reread["theory"].to_dataset(), reread["ensemble"].to_dataset()
    for name in _THEORY_DIMS:
        for end in ("", "_standard_error"):
            predicted, measured = theory[f"{name}_variance{end}"], ensemble[f"{name}_variance{end}"]
            beside = ensemble[f"{name}_n_variance{end}"]
            assert "N Var" in predicted.attrs["long_name"] and predicted.attrs["units"] == "count"
            assert "not multiplied" in measured.attrs["long_name"] and measured.attrs["units"] == "1"
            assert "N Var" in beside.attrs["long_name"] and beside.attrs["units"] == "count"
            assert beside.dims == measured.dims
            np.testing.assert_array_equal(beside.sel(width=256), 256 * measured.sel(width=256))


def test_points_are_chosen_by_split(reread: xr.DataTree) -> None:
    data, test = reread["data"].to_dataset(), POINTS - TRAINED
    assert data.sel(split="train").sizes["point"] == TRAINED and reread["data/y"].sel(split="test").shape[0] == test
    assert reread["theory/prediction"].sel(point_split="train").sizes["point"] == TRAINED
    assert reread["ensemble/prediction_mean"].sel(point_split="test").sizes["point"] == test
    assert reread["theory/loss"].sel(split="train").dims == ("time",)


def _unexplained(tree: xr.DataTree) -> list[str]:
    variables = {
        f"{group.path}/{name}": one for group in tree.children.values() for name, one in group.data_vars.items()
    }
    holds = {name for name, one in variables.items() if one.dtype.kind == "f" and one.isnull().any()}
    return sorted(name for name in holds if "missing_reason" not in variables[name].attrs)


def test_whatever_is_missing_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, where a width has fewer networks, without test points, and for targets that are zero."""
    first, *rest = stand_ins.ensemble()
    fewer = [replace(first, sample_prediction=first.sample_prediction[:5]), *rest]
    tree = stand_ins.tree(networks=fewer)
    assert np.isnan(tree["ensemble/prediction_relative_variance"]).any() and _unexplained(tree) == []
    points = stand_ins.dataset()
    points.train, points.y = np.ones(POINTS, bool), np.zeros((POINTS, 1))
    monkeypatch.setattr(stand_ins, "dataset", lambda *_: points)
    for one in fewer:  # as of a real run without test points
        for statistics in (one.mean, one.mean_standard_error, one.variance, one.variance_standard_error):
            for name in {"loss", "accuracy"} & statistics.keys():
                statistics[name][:, 1] = np.nan
    without = stand_ins.tree(networks=fewer)
    assert "no test points" in without["ensemble/loss_mean"].attrs["missing_reason"]
    assert _unexplained(without) == []
    assert not any("kernel_alignment" in str(name) and "last" not in str(name) for name in without["theory"].data_vars)


def test_model_conventions_come_from_the_plugin() -> None:
    for kind in registry().kinds("architecture"):
        conventions = registry().get("architecture", kind).conventions
        text = stand_ins.tree(conventions=conventions).attrs["model_conventions"]
        assert text.startswith(conventions) and "gamma0" in conventions and "not multiplied by N" in text
    assert "as the plugin defines" in stand_ins.tree().attrs["model_conventions"]


def test_root_attributes(reread: xr.DataTree) -> None:
    assert reread.attrs.keys() >= _ROOT_ATTRIBUTES
    assert json.loads(reread.attrs["experiment"])["name"] == "stand-in"
    assert "2304.03408" in reread.attrs["source"] and "2205.09653" in reread.attrs["source"]
    assert reread.attrs["creation_library"] == "fwdmft"


def test_values_are_those_of_the_engine(reread: xr.DataTree, outputs: int) -> None:
    theory, statistics = stand_ins.theory(outputs), stand_ins.ensemble(outputs)[1]
    layer_first = np.moveaxis(theory.bias["gradient_kernel"], 1, 0)
    np.testing.assert_array_equal(reread["theory/gradient_kernel_bias"], layer_first)
    np.testing.assert_array_equal(reread["theory/prediction_variance"], theory.variance["prediction"])
    of_width = reread["ensemble"].to_dataset().sel(width=statistics.width)
    measured = np.moveaxis(statistics.variance["feature_kernel"], 1, 0)
    np.testing.assert_array_equal(of_width["feature_kernel_variance"], measured)


def test_a_half_that_did_not_run_has_no_group() -> None:
    assert set(stand_ins.tree(of=None).children) == {"data", "ensemble", "diagnostics"}
    assert set(stand_ins.tree(networks=[]).children) == {"data", "theory", "diagnostics"}


def test_theory_without_fluctuations_or_bias() -> None:
    theory = stand_ins.tree(of=stand_ins.theory(fluctuations=False, bias=False, two_time=False))["theory"]
    assert set(theory.data_vars) == {
        *_THEORY_DIMS,
        "loss",
        "loss_standard_error",
        "tangent_kernel_alignment",
        "feature_kernel_alignment",
    }
    assert "time_prime" not in theory.dims and "width" not in theory.dims


def test_images_and_widths_do_not_clash(tmp_path: Path) -> None:
    tree = open_result(write_result(stand_ins.tree(images=True), tmp_path / "images.nc"))
    assert tree["data"]["x"].dims == ("point", "height", "width", "channel")
    assert tree["data"].sizes["width"] == 4 and tree["ensemble"].sizes["width"] == len(WIDTHS)


def test_theory_and_ensemble_may_keep_different_times_and_samples() -> None:
    first, *rest = stand_ins.ensemble()
    fewer = [replace(first, sample_prediction=first.sample_prediction[:5]), *rest]
    tree = stand_ins.tree(of=stand_ins.thinned(stand_ins.theory()), networks=fewer)
    assert tree["theory"].sizes["time"] == 6 and tree["ensemble"].sizes["time"] == STEPS
    samples = tree["ensemble"]["sample_prediction"].values
    assert np.isnan(samples[0, 5:]).all() and np.isfinite(samples[1:]).all()


def test_widths_with_different_times_are_refused() -> None:
    first, *rest = stand_ins.ensemble()
    with pytest.raises(ValueError, match="same times"):
        stand_ins.tree(networks=[replace(first, times=first.times + 1), *rest])


def test_diagnostics_of_theory_and_run_are_both_kept(reread: xr.DataTree) -> None:
    group = reread["diagnostics"]
    assert group["theory_seconds"].item() == 3.5 and group["seconds"].item() == 12.0
    assert group["seconds"].attrs["units"] == "s" and group["peak_memory_bytes"].attrs["units"] == "byte"
    assert group["device"].item() == "cpu" and group["trace"].dims == ("time",)
    assert group["basis_rank"].values.tolist() == [40, 55]


# --- the file ---


def test_round_trip_is_exact(tree: xr.DataTree, reread: xr.DataTree) -> None:
    xr.testing.assert_identical(tree, reread)


def test_opens_without_fwdmft(tmp_path: Path) -> None:
    write_result(stand_ins.tree(3), tmp_path / "result.nc")
    script = (
        "import sys; sys.modules['fwdmft'] = None\n"
        "import xarray, netCDF4\n"
        "tree = xarray.open_datatree('result.nc')\n"
        "assert tree['theory/prediction'].dims == ('time', 'point', 'output')\n"
        "assert tree['data/split'].values[0] == 'train' and 'experiment' in tree.attrs\n"
        "plain = netCDF4.Dataset('result.nc')\n"
        "print(plain['ensemble/prediction_mean'].shape[0], plain['diagnostics'].variables['device'][...])\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(len(WIDTHS)), "cpu"]


def test_equal_results_give_equal_files_apart_from_the_time_of_writing(tmp_path: Path) -> None:
    files = []
    for name in ("first.nc", "second.nc"):
        tree = stand_ins.tree()
        tree.attrs |= {"created_at": "", "history": ""}
        files.append(write_result(tree, tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_large_arrays_are_compressed(tree: xr.DataTree, tmp_path: Path) -> None:
    with xr.open_datatree(write_result(tree, tmp_path / "result.nc")) as opened:
        assert opened["theory/tangent_kernel"].encoding["zlib"]
        assert not opened["data/y"].encoding["zlib"]


def test_a_failure_midway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_result(stand_ins.tree(), tmp_path / "result.nc")
    before = target.read_bytes()

    def fail_midway(self: xr.DataTree, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail_midway)
    with pytest.raises(WritingError, match=r"could not be written to .*result.nc \(disk full\): is there room"):
        write_result(stand_ins.tree(3), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_an_older_result_is_replaced_while_it_is_in_use(tmp_path: Path) -> None:
    target = write_result(stand_ins.tree(1), tmp_path / "result.nc")
    in_use = open_result(target)
    write_result(stand_ins.tree(3), target)
    assert in_use["data"].sizes["output"] == 1 and open_result(target)["data"].sizes["output"] == 3


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output: got .*existing directory"):
        check_output(tmp_path / "nowhere" / "result.nc")
    with pytest.raises(InputError, match="this is a directory"):
        check_output(tmp_path)


def test_files_that_are_not_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="result: got .*an existing result file"):
        open_result(tmp_path / "missing.nc")
    (tmp_path / "text.nc").write_text("not netCDF")
    with pytest.raises(InputError, match="a readable netCDF file"):
        open_result(tmp_path / "text.nc")
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match="something else"):
        open_result(tmp_path / "other.nc")
