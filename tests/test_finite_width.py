"""Sigma and b from draws: reproducible, resumed bit for bit, as many and as wide as asked, and what estimates say."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from networks_of import dense_network

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections import samples
from fwdmft.corrections.sample_estimates import GROUPS
from fwdmft.engine.infinite_width import relative
from fwdmft.errors import FwdmftWarning
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan
from fwdmft.program.weights import InputWeights
from fwdmft.resources import DRAWN
from fwdmft.testing.agreement import ROUNDING, Estimate, assert_zero
from fwdmft.theory import TheoryResult, TheoryTask, solve

X = np.array([[1.2, -0.7, 0.4], [0.3, 1.1, -0.8], [-0.5, 0.6, 1.3]])
Y = np.array([[1.0, -0.5], [0.4, 0.8], [0.0, 0.0]])
STEPS = 7


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def task(**settings: Any) -> TheoryTask:
    """Two hidden layers of tanh, two outputs, momentum, and a last interval that is shorter than save_every."""
    equations = dense_network(X, 1.5, outputs=2, sigma_w=(1.0,) * 3, bias=0.3)
    sizes = {"neurons": 512, "replicates": 4, "draws": 1024, "draw_width": 8, "save_every": 4, "seed": 3}
    return TheoryTask(
        equations=equations,
        richness=lambda width: 1.5,
        lazy=False,
        y=Y,
        train=np.array([True, True, False]),
        loss=SquaredError(),
        plan=Plan(np.full(STEPS, 0.1), momentum=0.3),
        spec=TheorySpec(**(sizes | settings)),
    )


@pytest.fixture(scope="module")
def whole() -> TheoryResult:
    with jax.enable_x64(True):
        return solve(task())


def arrays(result: TheoryResult) -> dict[str, np.ndarray]:
    """All arrays of a result, by name."""
    actual = {}
    for each in fields(result):
        value = getattr(result, each.name)
        if isinstance(value, np.ndarray):
            actual[each.name] = value
        elif each.name not in ("diagnostics", "dims", "ladder"):
            actual |= {f"{each.name}/{name}": a for name, a in (value or {}).items()}
    return actual


def assert_identical(result: TheoryResult, expected: TheoryResult) -> None:
    actual = arrays(result)
    assert set(actual) == set(arrays(expected))
    for name, a in arrays(expected).items():
        np.testing.assert_array_equal(actual[name], a, err_msg=name)


class Interrupted(Exception):
    """Raised in the middle of the draws."""


def test_resumed_draws_are_those_of_an_uninterrupted_run(whole: TheoryResult, tmp_path: Path) -> None:
    """To the last bit, and so are those of the same seed."""

    def checkpoint() -> Checkpoint:
        return Checkpoint(tmp_path / "kept", {"experiment": "one"}, every=0)

    def report(stage: str, done: int, total: int) -> None:
        if stage.startswith("networks") and done > total / 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        solve(task(), report, checkpoint())
    stored = checkpoint().load("draws-8")
    assert stored is not None and 0 < int(stored["done"]) * int(stored["chunk"]) < 1024
    taken = []
    result = solve(task(), lambda stage, done, total: taken.append((stage, done)), checkpoint())
    first = next(done for stage, done in taken if stage.startswith("networks"))
    assert first > int(stored["done"]) * int(stored["chunk"])
    assert_identical(result, whole)


def test_another_seed_draws_other_networks(whole: TheoryResult) -> None:
    """Sigma and b of both agree."""
    other = solve(task(seed=4))
    for name, value in whole.variance.items():
        assert np.any(value != other.variance[name])
        sigma, b = (
            [
                Estimate.of(getattr(each, part)[name], getattr(each, f"{part}_standard_error")[name], GROUPS)
                for each in (whole, other)
            ]
            for part in ("variance", "bias")
        )
        assert_zero(f"variance of {name}", sigma[0] - sigma[1], float(np.max(sigma[0].value)))
        assert_zero(f"b of {name}", b[0] - b[1], float(np.max(np.abs(b[0].value))))


def test_number_and_width_of_draws_are_those_asked_for(whole: TheoryResult) -> None:
    diagnostics = whole.diagnostics
    assert (diagnostics["draws"], diagnostics["draw_width"], diagnostics["neurons"]) == (1024, 8, 512)
    assert diagnostics["self_check"] < 4, "q from draws alone is not that of the large simulation"


def test_covariances_of_draws(whole: TheoryResult) -> None:
    """N Cov of predictions holds N Var on its diagonal, and is positive."""
    covariance, variance = whole.prediction_covariance, whole.variance["prediction"]
    assert covariance is not None and covariance.shape == variance.shape * 2
    flat = covariance.reshape(variance.size, -1)
    np.testing.assert_allclose(flat, flat.T, atol=ROUNDING * flat.max())
    np.testing.assert_allclose(np.diag(flat), variance.ravel(), atol=ROUNDING * flat.max())
    equal = whole.equal_time_covariances
    assert equal is not None and len(equal) == GROUPS
    np.testing.assert_allclose(
        np.einsum("gtpcc->tpc", equal) / GROUPS, variance, atol=ROUNDING * flat.max(), err_msg="outputs of one point"
    )
    assert solve(task(covariance=False)).prediction_covariance is None


def test_many_points_in_few_dimensions() -> None:
    """With P > 2 D training acts through a root of the Gram matrix: the same action, and the same factor of it."""
    x = np.random.default_rng(1).standard_normal((9, 2))
    weights = InputWeights(x, sigma_w=1.5, sigma_b=0.4)
    signal = jax.numpy.asarray(np.random.default_rng(2).standard_normal((9, 4)))
    assert weights.root is not None and weights.root.shape == (9, 3)
    expected = 0.7 * (x @ x.T / 2 + 0.16) @ signal
    np.testing.assert_allclose(
        weights.direction(signal, jax.numpy.asarray(0.7)), expected, rtol=ROUNDING, atol=ROUNDING
    )
    covariance = 2.25 * x @ x.T / 2 + 0.16
    np.testing.assert_allclose(weights.factor @ weights.factor.T, covariance, rtol=ROUNDING, atol=ROUNDING)


def cramped(**settings: Any) -> TheoryTask:
    """Mean alone, of networks with kinks, with little room for bases at first."""
    kinked = dense_network(X, 1.5, outputs=2, sigma_w=(1.0,) * 3, activation="relu")
    asked = {"fluctuations": False, "bias": False, "relative_error": 0.1, "replicates": 8}
    return replace(task(**asked, **settings), equations=kinked.with_capacities(((8, 12),)))


def test_only_q_without_capacity_for_bases() -> None:
    """Told beforehand, with what helps; q from no more draws than its own error asks for, and the same q."""
    with pytest.warns(FwdmftWarning, match=r"raise theory.neurons \(tried: 32\) or theory.basis_tolerance") as warned:
        drawn = solve(cramped(neurons=32, draws=None, draw_width=None))
    assert any("q comes from networks of small width instead, until its error is 0.1" in str(w.message) for w in warned)
    assert drawn.diagnostics["draws"] <= 512 and not drawn.variance and not drawn.bias
    known = solve(cramped(neurons=2048))
    for name in ("prediction", "tangent_kernel"):
        assert relative(drawn.standard_error[name], drawn.mean[name]) <= 0.1
        one = Estimate.of(drawn.mean[name], drawn.standard_error[name], GROUPS)
        other = Estimate.of(known.mean[name], known.standard_error[name], 8)
        assert_zero(name, one - other, float(np.max(np.abs(other.value))))


# --- estimates, of numbers whose Sigma and b are known ---


def test_single_steps_have_no_fluctuations_of_what_is_exact() -> None:
    """f(0) = 0 in every network: Sigma and b are zero, and so are their errors."""
    equations = dense_network(X, 1.5, outputs=2)
    short = replace(task(), equations=equations, plan=Plan(np.full(1, 0.1)))
    actual = solve(short)
    for part in (actual.variance, actual.bias, actual.variance_standard_error, actual.bias_standard_error):
        np.testing.assert_array_equal(part["prediction"], 0.0)
    assert np.all(np.einsum("tpcpc->tpc", actual.variance["tangent_kernel"]) > 0)


def sampler(width: int, at_once: int) -> samples.Sampler:
    """Draws of the task above."""
    t = task()
    training, observing = t.training(), t.observing(False)
    return samples.Sampler(t.equations, t.equations, training, width, observing, at_once).single()


def test_draws_do_not_depend_on_how_many_come_at_once() -> None:
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(1), 12)
        # 12 are not a multiple of 5: they come 4 at a time.
        few, whole = (samples.draws(sampler(4, count), keys) for count in (5, 12))
    for a, b in zip(few, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_widths_share_what_their_matrices_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the change of an observable from one width to the other varies as much as the observable."""
    shares = []
    for coupled in (samples.coupled, lambda equations, noise, matrices, momentum: matrices):
        monkeypatch.setattr(samples, "coupled", coupled)
        with jax.enable_x64(False):
            keys = jax.random.split(jax.random.key(1), 256)
            # A function of its own, as a program that is compiled already would not see the change.
            draws = jax.jit(lambda drawn, keys: drawn.draws(keys))(sampler(16, 64), keys)
        shares.append(float(np.sum(np.var(draws.change, axis=0)) / np.sum(np.var(draws.mean, axis=0))))
    assert shares[0] < 0.5 < 0.8 < shares[1]


@pytest.mark.parametrize("width", [4, 128])
def test_memory_of_draws_is_foreseen(width: int) -> None:
    """That of the compiled program for 64 of them, which come one by one where they are wide."""
    t = task()
    size = samples.draw_size(t.equations, t.site_numbers, width)
    count = samples.at_once(size)
    assert count == (64 if width == 4 else 1)
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(1), 64)
        compiled = jax.jit(samples.draws.__wrapped__).lower(sampler(width, count), keys).compile()
    assert 0.1 < compiled.memory_analysis().temp_size_in_bytes / (4 * DRAWN * count * size) < 1


@pytest.mark.parametrize("opposite", [False, True])
def test_rounding_of_f_is_no_error_of_kernels(opposite: bool) -> None:
    """Lazy networks without a target, or with opposite ones of equal points, have f = 0 up to rounding, whose variances
    grow with the width as they like. Judged by them, Sigma of K had an error of 1.1 to 4.6 times itself."""
    x, y = (X[[0, 0, 1]], [1.0, -1.0, 0.0]) if opposite else (X, np.zeros(3))
    posed = replace(
        task(relative_error=0.05, draws=256),
        equations=dense_network(x, 0.0, sigma_w=(1.0,) * 3),
        lazy=True,
        richness=lambda width: width**-0.5,
        y=np.reshape(y, (3, 1)),
        plan=Plan(np.full(STEPS, 0.2)),
    )
    result = solve(posed)
    assert not result.variance["prediction"].any() and not result.variance_standard_error["prediction"].any()
    assert 0 < relative(result.variance_standard_error["tangent_kernel"], result.variance["tangent_kernel"]) < 0.5
