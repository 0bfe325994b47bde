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
from rich.console import Console

from fwdmft.errors import InputError
from fwdmft.results import agreement, check_output, open_result, result_tree, summary_table, write_result
from fwdmft.results.comparison import bias_residual, fitted_bias, measured_bias, pairs_once, squared_deviation
from fwdmft.results.scores import MEASURES, write_agreement

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
    "plugin",
    "plugin_version",
    "jax_version",
    "numpy_version",
    "source",
}


@pytest.fixture(scope="module", params=[1, 3], ids=["one output", "three outputs"])
def outputs(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def tree(outputs: int) -> xr.DataTree:
    return stand_ins.tree(outputs)


@pytest.fixture(scope="module")
def reread(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return open_result(write_result(tree, tmp_path_factory.mktemp("results") / "result.nc"))


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
    assert theory["loss_at_width"].dims == ("width", "time", "split")
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
    assert set(theory.data_vars) == {*_THEORY_DIMS, "loss", "tangent_kernel_alignment", "feature_kernel_alignment"}
    assert "time_prime" not in theory.dims and "width" not in theory.dims


def test_images_and_widths_do_not_clash(tmp_path: Path) -> None:
    tree = open_result(write_result(stand_ins.tree(images=True), tmp_path / "images.nc"))
    assert tree["data"]["x"].dims == ("point", "height", "width", "channel")
    assert tree["data"].sizes["width"] == 4 and tree["ensemble"].sizes["width"] == len(WIDTHS)


def test_theory_and_ensemble_may_keep_different_times_and_samples() -> None:
    first, *rest = stand_ins.ensemble()
    fewer = [replace(first, sample_prediction=first.sample_prediction[:5]), *rest]
    tree = stand_ins.tree(of=_thinned(stand_ins.theory()), networks=fewer)
    assert tree["theory"].sizes["time"] == 6 and tree["ensemble"].sizes["time"] == STEPS
    samples = tree["ensemble"]["sample_prediction"].values
    assert np.isnan(samples[0, 5:]).all() and np.isfinite(samples[1:]).all()


def _thinned(theory: stand_ins.Theory) -> stand_ins.Theory:
    kept = np.array([0, 4, 8, 12, 16, 20])
    parts = ("mean", "standard_error", "variance", "variance_standard_error", "bias", "bias_standard_error")
    single = {part: {name: getattr(theory, part)[name] for name in _THEORY_DIMS} for part in parts}
    arrays = {part: {name: full[kept] for name, full in named.items()} for part, named in single.items()}
    whole = {"prediction_covariance": None, "equal_time_covariance": None, "layer_covariance": None, "responses": {}}
    return replace(theory, times=kept, diagnostics={}, **whole, **arrays)


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
    with pytest.raises(OSError, match="disk full"):
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


# --- comparison and reports ---


def _by_hand(q: list[float], mean: list[float], errors: dict[str, float], width: int = 4) -> xr.DataTree:
    """One point, one output, a time for every entry of q; b = 2, Sigma = 3, one width with variance 1."""

    def filled(value: float) -> np.ndarray:
        return np.full((len(q), 1, 1), value)

    def columns(**values: object) -> dict[str, dict[str, np.ndarray]]:
        return {part: {"prediction": np.reshape(value, (len(q), 1, 1))} for part, value in values.items()}

    theory = stand_ins.Theory(
        times=np.arange(len(q)),
        dims={"prediction": ("point", "output")},
        **columns(mean=q, bias=filled(2.0), variance=filled(3.0), variance_standard_error=filled(0.0)),
        **columns(standard_error=filled(errors["theory"]), bias_standard_error=filled(errors["bias"])),
    )
    statistics = stand_ins.Statistics(
        width=width,
        members=11,
        diverged=1,
        times=theory.times,
        **columns(mean=mean, variance=filled(1.0), variance_standard_error=filled(0.25)),
        **columns(mean_standard_error=filled(errors["ensemble"])),
        sample_prediction=np.zeros((1, len(q), 1, 1)),
        seconds=0.0,
    )
    points = stand_ins.dataset()
    points.x, points.y, points.train = points.x[:1], points.y[:1], points.train[:1]
    run = stand_ins.experiment()
    return result_tree(run, points, theory, None, None, [], [statistics], None, {}, "fwdmft_mlp", "0.1.0")


def test_agreement_by_hand() -> None:
    # E q_N - q - b/N = 1 and 2.5; error = sqrt(0.3^2 + 0.4^2 + (4.8 / 4)^2) = 1.3
    tree = _by_hand([0.0, 1.0], [1.5, 4.0], {"ensemble": 0.3, "theory": 0.4, "bias": 4.8})
    row = agreement(tree).sel(width=4, variable="prediction")
    assert row["mean_rms"].item() == pytest.approx(np.sqrt((1 + 2.5**2) / 2) / 1.3)
    assert row["mean_max"].item() == pytest.approx(2.5 / 1.3)
    # N Var = 4 against 3, error 4 * 0.25 = 1
    assert row["variance_rms"].item() == pytest.approx(1.0) == row["variance_max"].item()
    assert row["variance_relative_error"].item() == pytest.approx(1 / 3)
    assert row["variance_relative_standard_error"].item() == pytest.approx(1 / 3)
    assert row["mean_relative_error"].item() == pytest.approx(np.sqrt(1 + 2.5**2))  # over the rms of q = 0 and 1
    assert row["mean_entries"].item() == 2 and row["mean_share_beyond_4"].item() == 0
    assert row["mean_median"].item() == pytest.approx(1.75 / 1.3)
    assert row["mean_percentile_95"].item() == pytest.approx((1 + 0.95 * 1.5) / 1.3)
    assert row["bias_entries"].item() == 0 and np.isnan(row["bias_rms"].item())


def test_fitted_bias_by_hand() -> None:
    """E q_N = 0, 0.25, 0.75 at 1/N = 0, 1/4, 1/2 with errors 1, 1, 2: a weighted straight line, done by numpy."""
    x, y, error = np.array([0.01, 0.25, 0.5]), np.array([0.0, 0.25, 0.75]), np.array([1.0, 1.0, 2.0])
    ensemble = xr.Dataset(
        {"q_mean": ("width", y), "q_mean_standard_error": ("width", error)}, coords={"width": ("width", 1 / x)}
    )
    fit, covariance = np.polyfit(x, y, 1, w=1 / error, cov="unscaled")
    found = fitted_bias(ensemble, "q")
    assert found.value.item() == pytest.approx(fit[0]) and found.error.item() == pytest.approx(covariance[0, 0] ** 0.5)
    theory = xr.Dataset({"q_bias": xr.DataArray([1.0], dims="time"), "q_bias_standard_error": ("time", [3.0])})
    theory, ensemble = theory.assign_coords(time=[0]), ensemble.expand_dims(time=[0])
    residual = bias_residual(theory, ensemble, "q")
    assert residual.value.item() == pytest.approx(fit[0] - 1)
    assert residual.error.item() == pytest.approx(np.hypot(covariance[0, 0] ** 0.5, 3.0))


def test_pairs_of_points_count_once() -> None:
    kernel = xr.DataArray(np.arange(4 * 36.0).reshape(4, 3, 2, 3, 2), dims=("time", *_PAIR))
    once = pairs_once(kernel, "tangent_kernel")
    expected = np.where(np.triu(np.ones((6, 6), bool)), kernel.values.reshape(4, 6, 6), np.nan)
    np.testing.assert_array_equal(once.values.reshape(4, 6, 6), expected)
    for name, values in (("of_a_plugin", kernel), ("prediction", kernel[..., 0, 0])):
        assert pairs_once(values, name).notnull().all()


def test_entries_of_a_kernel(tree: xr.DataTree, outputs: int) -> None:
    numbers, pairs = agreement(tree), POINTS * (POINTS + 1) // 2
    points = POINTS * outputs
    expected = {
        "prediction": (STEPS - 1) * points,  # f(0) = 0 in all networks and cannot disagree
        "tangent_kernel": STEPS * points * (points + 1) // 2,
        "feature_kernel": DEPTH * STEPS * pairs,
        "gradient_kernel": DEPTH * STEPS * points * (points + 1) // 2,
    }
    for name, count in expected.items():
        for quantity in ("mean", "variance", "bias"):
            assert (numbers[f"{quantity}_entries"].sel(variable=name) == count).all(), (name, quantity)


def test_measures_see_rare_and_large_differences() -> None:
    mean = np.full(200, 0.5)
    mean[:2] += 5.0
    row = agreement(_by_hand([0.0] * 200, list(mean), {"ensemble": 1.0, "theory": 0.0, "bias": 0.0}))
    row = row.sel(width=4, variable="prediction")
    assert row["mean_share_beyond_4"].item() == pytest.approx(0.01) and row["mean_max"].item() == pytest.approx(5)
    assert row["mean_percentile_95"].item() == pytest.approx(0) and np.isnan(row["mean_relative_error"].item())


def test_agreement_as_csv(tree: xr.DataTree, tmp_path: Path) -> None:
    numbers = agreement(tree)
    lines = write_agreement(numbers, tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "quantity,width,observable," + ",".join(MEASURES)
    assert [line.split(",")[:3] for line in (lines[1], lines[-1])] == [
        ["mean", "64", "prediction"],
        ["bias", "all", "gradient_kernel"],
    ]
    rms = numbers["variance_rms"].sel(width=256, variable="tangent_kernel").item()
    assert [float(line.split(",")[4]) for line in lines if line.startswith("variance,256,tangent")] == [rms]
    with pytest.raises(InputError, match="output: got"):
        write_agreement(numbers, tmp_path / "none" / "a.csv")


def test_comparison_by_hand() -> None:
    tree = _by_hand([0.0, 1.0], [1.5, 4.0], {"ensemble": 0.3, "theory": 0.4, "bias": 4.8})
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    bias = measured_bias(theory, ensemble, "prediction")
    assert bias.value.values.ravel() == pytest.approx([6.0, 12.0])
    assert bias.error.values.ravel() == pytest.approx([2.0, 2.0])
    # ten networks kept: spread 1 * 9/10, plus the mean of 1.5^2 and 3^2
    deviation = squared_deviation(theory, ensemble, "prediction")
    assert deviation.value.item() == pytest.approx(0.9 + (1.5**2 + 3.0**2) / 2)


def test_entries_without_error_are_left_out_of_agreement() -> None:
    tree = _by_hand([0.0], [7.0], {"ensemble": 0.0, "theory": 0.0, "bias": 0.0})
    row = agreement(tree).sel(width=4, variable="prediction")
    assert np.isnan(row["mean_rms"].item()) and np.isnan(row["mean_max"].item())


def test_an_ensemble_drawn_from_the_theory_agrees(reread: xr.DataTree) -> None:
    numbers = agreement(reread)
    assert numbers["variable"].values.tolist() == list(_THEORY_DIMS)
    for name in ("mean_rms", "variance_rms", "bias_rms"):
        assert ((numbers[name] > 0.8) & (numbers[name] < 1.2)).all()
        assert (numbers[name.replace("rms", "share_beyond_4")] < 0.01).all()
    assert (numbers["mean_max"] < 6).all() and (numbers["variance_relative_error"] < 0.06).all()


def test_a_shifted_ensemble_does_not_agree() -> None:
    shifted = stand_ins.tree(networks=stand_ins.ensemble(shift=1.0))
    numbers = agreement(shifted)
    assert (numbers["mean_rms"] > 3).all() and (numbers["variance_rms"] < 1.2).all()
    assert (numbers["bias_rms"] > 3).all()  # moved by N^(-1/2), not by 1/N


def test_a_wrong_variance_does_not_agree() -> None:
    theory = stand_ins.theory()
    wrong = replace(theory, variance={name: 1.3 * sigma for name, sigma in theory.variance.items()})
    numbers = agreement(stand_ins.tree(of=wrong))
    assert (numbers["variance_rms"] > 3).all() and (numbers["mean_rms"] < 1.3).all()


def test_agreement_at_common_times_only() -> None:
    numbers = agreement(stand_ins.tree(of=_thinned(stand_ins.theory())))
    assert ((numbers["mean_rms"] > 0.7) & (numbers["mean_rms"] < 1.3)).all()


def test_agreement_of_one_half_is_empty() -> None:
    assert not agreement(stand_ins.tree(of=None)).data_vars
    assert not agreement(stand_ins.tree(networks=[])).data_vars


def _printed(tree: xr.DataTree, full: bool = False) -> str:
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary_table(tree, full))
    return console.export_text()


def test_summary_shows_losses_and_agreement(tree: xr.DataTree) -> None:
    text = _printed(tree)
    final = tree["theory/loss"].isel(time=-1).sel(split="test").item()
    for expected in (
        "infinite",
        f"{final:.4g}",
        "1000 networks",
        "±",
        "averaged predictor",
        "tangent kernel",
    ):
        assert expected in text
    rms = agreement(tree)["mean_rms"].sel(width=64, variable="prediction").item()
    assert f"{rms:.2f}" in text and "beyond 4" not in text and "beyond 4" in _printed(tree, full=True)


@pytest.mark.parametrize("half", ["theory", "ensemble"])
def test_summary_of_one_half(half: str) -> None:
    tree = stand_ins.tree(networks=[]) if half == "theory" else stand_ins.tree(of=None)
    text = _printed(tree)
    assert ("infinite" in text) == (half == "theory") and ("networks" in text) == (half == "ensemble")
    assert "in standard errors" not in text


def test_summary_without_variance_and_with_diverged_networks() -> None:
    first, *rest = stand_ins.ensemble()
    plain = stand_ins.theory(fluctuations=False, bias=False)
    text = _printed(stand_ins.tree(of=plain, networks=[replace(first, diverged=3), *rest]))
    assert "3 diverged" in text and "nan" not in text
