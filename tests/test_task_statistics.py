"""Statistics of tasks: accuracy, the jackknife, averaged predictors, training rates, and results that hold them."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
from experiments import experiment

import fwdmft
from fwdmft.alignment import alignment
from fwdmft.classes import accuracy, are_classes
from fwdmft.jackknife import Jackknifed, combined, of_means
from fwdmft.networks import training
from fwdmft.networks.ensemble import train_ensemble
from fwdmft.networks.statistics import GroupSums
from fwdmft.networks.training import trainer
from fwdmft.optimization import Plan
from fwdmft.registry import registry
from fwdmft.results.training_rates import fitted_law, rates
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import ROUNDING

CLASSES = np.eye(3)[[0, 1, 2, 1, 0, 2]]
TRAIN = np.arange(6) < 4
X = points(6, 5)[0]


def task(steps: int = 7, kernels: bool = False, **changes: Any) -> training.Task:
    spec = {"kind": "mlp", "activation": "tanh"}
    case = Case("tanh", registry().get("architecture", "mlp"), spec, X, CLASSES - 1 / 3, TRAIN, save_every=3)
    return replace(case.task(Plan(np.full(steps, 0.3)), kernels), **changes)


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    with jax.enable_x64(True):
        yield


# --- accuracy ---


def test_targets_that_are_classes() -> None:
    for y in (CLASSES, CLASSES - 1 / 3, 2 * CLASSES - 1, np.array([[1.0], [-1.0]])):
        assert are_classes(y)
    for y in (np.ones((3, 1)), np.array([[0.5], [-1.0]]), CLASSES[:1], CLASSES + np.eye(6)[:, :3], np.ones((2, 2))):
        assert not are_classes(y)


def test_accuracy_by_hand() -> None:
    f = np.array([[3.0, 1, 2], [0, 0, 0], [1, 0, 1], [5, 0, 1], [2, 2, 1], [0, 1, 2]])
    assert accuracy(f, CLASSES) == pytest.approx((1 + 1 / 3 + 1 / 2 + 0 + 1 / 2 + 1) / 6)
    np.testing.assert_allclose(accuracy(np.stack([f, CLASSES]), CLASSES - 1 / 3)[1], 1.0)
    assert accuracy(np.array([[0.1], [-2.0], [3.0], [0.0]]), np.array([[1.0], [-1], [-1], [1]])) == 0.625


# --- the jackknife ---


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    """With one member per group it is the textbook one exactly; groups without members do not count."""
    values = np.random.default_rng(0).normal(size=(12, 3))
    sums = GroupSums(np.zeros(15, int))
    sums.add(values[:5], np.arange(5))
    sums.add(values[5:], np.arange(5, 12))
    actual = of_means(sums.sums, sums.counts)
    np.testing.assert_allclose(actual.value, values.mean(axis=0))
    np.testing.assert_allclose(actual.standard_error, values.std(axis=0, ddof=1) / 12**0.5)


def test_jackknife_of_a_ratio_follows_the_spread_of_samples() -> None:
    """The mean squared error bar is the variance over 300 independent samples, to their precision."""
    random = np.random.default_rng(1)
    groups = np.arange(160) % 16
    actual = []
    for _ in range(300):
        above, below = random.normal(3, 1, 160), random.gamma(4.0, size=160)
        both = []
        for values in (above, below):
            sums = GroupSums(np.zeros(16, int))
            sums.add(values, groups)
            both.append(of_means(sums.sums, sums.counts))
        actual.append(combined(np.divide, *both))
    claimed = np.mean([one.standard_error**2 for one in actual])
    assert claimed == pytest.approx(np.var([one.value for one in actual]), rel=4 * (2 / 300) ** 0.5)


# --- single networks and their average ---


def test_statistics_of_a_task_by_hand() -> None:
    described = task(kernels=True)
    actual = train_ensemble(described, 6, 20, 0, 20)
    f, y = actual.sample_prediction, described.y
    assert f is not None and f.shape == (20, 3, 6, 3)
    averaged = f.mean(axis=0)
    for split, chosen in enumerate((TRAIN, ~TRAIN)):
        single = 0.5 * ((f - y)[:, :, chosen] ** 2).sum(axis=(-1, -2))
        np.testing.assert_allclose(actual.traces["loss"][..., split], single)
        np.testing.assert_allclose(actual.jackknifed["loss"].value[:, split], single.mean(axis=0))
        np.testing.assert_allclose(actual.mean["accuracy"][:, split], accuracy(f[:, :, chosen], y[chosen]).mean(axis=0))
        of_average = 0.5 * ((averaged - y)[:, chosen] ** 2).sum(axis=(-1, -2))
        np.testing.assert_allclose(actual.jackknifed["ensembled_loss"].value[:, split], of_average)
        np.testing.assert_allclose(
            actual.jackknifed["ensembled_accuracy"].value[:, split], accuracy(averaged[:, chosen], y[chosen])
        )
        variance = f[:, 1:, chosen].var(axis=0, ddof=1).mean(axis=(-1, -2))
        signal = (averaged[1:, chosen] ** 2).mean(axis=(-1, -2)) - variance / 20
        relative = actual.jackknifed["prediction_relative_variance"].value[:, split]
        assert np.isnan(relative[0])
        np.testing.assert_allclose(relative[1:], variance / signal)
    kernel = actual.mean["feature_kernel"][:, -1][:, TRAIN][:, :, TRAIN]
    np.testing.assert_allclose(actual.jackknifed["mean_kernel_alignment"].value, alignment(kernel, y[TRAIN]))
    without_first = np.arange(20) % 16 != 0
    np.testing.assert_allclose(
        actual.jackknifed["ensembled_loss"].left_out[0][:, 1],
        0.5 * ((f[without_first].mean(axis=0) - y)[:, ~TRAIN] ** 2).sum(axis=(-1, -2)),
    )


def test_alignment_of_single_networks() -> None:
    seen = trainer(task(kernels=True), 6)(jax.random.key(1)[None])
    kernel = np.asarray(seen["feature_kernel"])[0][..., TRAIN, :][..., TRAIN]
    np.testing.assert_allclose(seen["member_feature_alignment"][0], alignment(kernel, (CLASSES - 1 / 3)[TRAIN]))


# --- bounded memory ---


def test_last_predictions_and_metrics_are_those_of_the_whole() -> None:
    key = jax.random.key(0)[None]
    whole, last = (trainer(task(final_only=only), 6)(key) for only in (False, True))
    assert "prediction" not in last
    np.testing.assert_allclose(last["final_prediction"], whole["prediction"][:, -1], atol=ROUNDING)
    for name in ("loss", "accuracy", "mean_square"):
        np.testing.assert_allclose(last[name], whole[name], atol=ROUNDING)


def _traced(task: training.Task, keys: jax.Array) -> str:
    program = training._program(task, 6)
    return str(program.trace(training.Numbers.of(task), keys).jaxpr)


def test_large_networks_train_one_after_the_other_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = jax.random.split(jax.random.key(0), 5)
    together = trainer(task(), 6)(keys)
    assert "length=5" not in _traced(task(), keys)
    assert training.activity(task(), 6) == 4 * 6
    monkeypatch.setattr(training, "LARGE", 24)
    apart = trainer(task(), 6)
    assert "length=5" in _traced(task(), keys)  # the members, in a scan of their own
    np.testing.assert_allclose(apart(keys)["prediction"], together["prediction"], atol=ROUNDING)


def test_points_in_batches_are_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    key = jax.random.key(0)[None]
    whole = trainer(task(), 6)(key)
    monkeypatch.setattr(training, "EVALUATED", 4)
    np.testing.assert_allclose(trainer(task(), 6)(key)["prediction"], whole["prediction"], atol=ROUNDING)


def test_kernels_between_some_training_points() -> None:
    key = jax.random.key(0)[None]
    whole, some = (trainer(task(kernels=True, kernel_points=count), 6)(key) for count in (None, 3))
    at = np.flatnonzero(TRAIN)[[int(k * TRAIN.sum() / 3) for k in range(3)]]
    np.testing.assert_allclose(some["feature_kernel"], whole["feature_kernel"][..., at, :][..., at], atol=ROUNDING)
    np.testing.assert_allclose(some["tangent_kernel"], whole["tangent_kernel"][:, :, at][..., at, :], atol=ROUNDING)


@pytest.fixture(scope="module")
def small() -> xr.DataTree:
    """Epochs of minibatches, kernels between two points, and only the last predictions."""
    batched = {"kind": "gradient_descent", "learning_rate": 0.02, "epochs": 3, "batch": {"size": 2}}
    networks = {"widths": [4, 8], "members": 20, "kernel_points": 2, "predictions": "last"}
    return fwdmft.run(
        fwdmft.load_experiment(
            experiment(
                theory=None, optimizer=batched, data={"kind": "digits", "train": 5, "test": 2}, ensemble=networks
            )
        )
    )


def test_results_at_scale(small: xr.DataTree) -> None:
    actual = small["ensemble"].to_dataset()
    assert actual.time.values.tolist() == list(range(6))  # 3 epochs of 2 batches; the fifth point waits its turn
    assert actual["final_prediction_mean"].dims == ("width", "point", "output")
    assert "prediction_mean" not in actual and "sample_prediction" not in actual
    assert actual["subset_tangent_kernel_mean"].dims[2:] == (
        *("kernel_point", "output", "kernel_point_prime", "output_prime"),
    )
    assert actual.kernel_point.values.tolist() == [0, 2]
    assert actual["ensembled_loss"].notnull().all("split").values[0].tolist() == [False] * 5 + [True]
    assert actual["accuracy_mean"].dims == actual["member_loss"].isel(member=0).dims == ("width", "time", "split")
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in actual.data_vars.values())
    np.testing.assert_allclose(actual["member_loss"].mean("member"), actual["loss_mean"], rtol=1e-6)


def test_extrapolated_predictions_are_kept_at_every_time() -> None:
    flow = {"kind": "gradient_flow", "learning_rate": 0.02, "steps": 3}
    changes = {"optimizer": flow, "ensemble": {"widths": [4], "members": 2, "predictions": "last"}}
    with pytest.raises(fwdmft.InputError, match="ensemble.predictions: got 'last'; expected every or auto"):
        fwdmft.run(fwdmft.load_experiment(experiment(theory=None, **changes)))


# --- training rates ---


def curves(rate: np.ndarray, times: np.ndarray) -> list[Jackknifed]:
    """L_N(t) = g(R_N t) with g no exponential; the groups differ in their rates by parts in a thousand."""

    def g(scaled: np.ndarray) -> np.ndarray:
        return np.exp(-scaled) * (1 + 0.5 * np.sin(2 * scaled))

    spread = 1 + 1e-3 * np.linspace(-1, 1, 16)
    return [Jackknifed(g(r * times), np.stack([g(r * k * times) for k in spread])) for r in rate]


def test_rates_and_collapse_of_scaled_curves() -> None:
    widths, times = [16, 64, 256], np.linspace(0, 4, 400)
    true = 1 - 4 / np.array(widths)
    actual = rates(times, widths, curves(true, times))
    assert actual is not None and actual.law is not None
    ratio = np.array([one.value for one in actual.rate]) / actual.rate[-1].value
    np.testing.assert_allclose(ratio, true / true[-1], rtol=1e-4)
    np.testing.assert_allclose(actual.scaled_time[0], times * ratio[0])
    assert actual.law.shift / actual.law.limit == pytest.approx(4, rel=1e-3)
    errors = np.array([one.standard_error / one.value for one in actual.rate])
    spread = np.sqrt(15 / 16 * np.sum((1e-3 * np.linspace(-1, 1, 16)) ** 2))
    np.testing.assert_allclose(errors, spread, rtol=0.02)
    assert actual.distance[1].max() < 1e-4 < 0.01 < actual.distance[0, 1]
    assert (actual.distance_error[0, :2] > 0).all() and actual.distance[:, -1].tolist() == [0, 0]


def test_law_over_widths_weighs_by_errors() -> None:
    widths, errors = np.array([8.0, 16, 32, 64]), np.array([0.1, 0.02, 0.05, 0.01])
    law = fitted_law(widths, 2 - 3 / widths, errors)
    assert (law.limit, law.shift) == pytest.approx((2, 3))
    draws = np.random.default_rng(0).normal(size=(4000, 4)) * errors
    fits = [fitted_law(widths, 2 - 3 / widths + noise, errors) for noise in draws]
    for value, error in (
        (np.std([one.limit for one in fits]), law.limit_error),
        (np.std([one.shift for one in fits]), law.shift_error),
    ):
        assert value == pytest.approx(error, rel=4 * 8000**-0.5)
    assert np.isnan(fitted_law(widths, 2 - 3 / widths, 0 * errors).limit_error)


def test_no_rate_where_the_loss_does_not_fall() -> None:
    times = np.arange(5.0)
    for curve in (
        np.ones(5),
        np.linspace(1, 2, 5),
        np.array([1, 0.01, 0.01, 0.01, 0.01]),
        np.array([1.0, 0.5, 0.2, 0.1, 0]),
    ):
        assert rates(times, [4], [Jackknifed(curve, np.stack([curve, curve]))]) is None


def test_a_group_whose_loss_rises_shares_no_time() -> None:
    """The distance of its curve is unknown, without a warning of numpy's."""
    times = np.linspace(0, 4, 50)
    falling, rising = np.exp(-times), np.exp(0.1 * times)
    one = Jackknifed(falling, np.stack([falling, rising]))
    actual = rates(times, [4, 8], [one, Jackknifed(falling, np.stack([falling, falling]))])
    assert actual is not None and np.isnan(actual.distance_error[1, 0])
