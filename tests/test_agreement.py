"""Agreement of theory and ensembles, and the reports of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from result_stand_ins import DEPTH, POINTS, STEPS
from rich.console import Console

from fwdmft.errors import InputError
from fwdmft.results import agreement, result_tree, summary_table
from fwdmft.results.comparison import bias_residual, fitted_bias, measured_bias, pairs_once, squared_deviation
from fwdmft.results.scores import MEASURES, write_agreement


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
    return result_tree(run, points, theory, None, [statistics], {}, stand_ins.plugins(), stand_ins.architecture())


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
    actual = fitted_bias(ensemble, "q")
    assert actual.value.item() == pytest.approx(fit[0]) and actual.error.item() == pytest.approx(
        covariance[0, 0] ** 0.5
    )
    theory = xr.Dataset({"q_bias": xr.DataArray([1.0], dims="time"), "q_bias_standard_error": ("time", [3.0])})
    theory, ensemble = theory.assign_coords(time=[0]), ensemble.expand_dims(time=[0])
    residual = bias_residual(theory, ensemble, "q")
    assert residual.value.item() == pytest.approx(fit[0] - 1)
    assert residual.error.item() == pytest.approx(np.hypot(covariance[0, 0] ** 0.5, 3.0))


def test_pairs_of_points_count_once() -> None:
    kernel = xr.DataArray(
        np.arange(4 * 36.0).reshape(4, 3, 2, 3, 2), dims=("time", *stand_ins.DIMS["tangent_kernel"][-4:])
    )
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
    assert numbers["variable"].values.tolist() == list(stand_ins.DIMS)
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
    numbers = agreement(stand_ins.tree(of=stand_ins.thinned(stand_ins.theory())))
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
