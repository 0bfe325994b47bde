"""Sigma and b from draws: reproducible, resumed bit for bit, as many and as wide as asked, and what estimates say."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from networks_of import dense_network

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections import next_order, samples
from fwdmft.corrections.drawing import Wanted
from fwdmft.corrections.finite_width import PILOT, FiniteWidth, Limit, _at_width, _judged, _limit
from fwdmft.corrections.from_draws import PAYING, control_variates
from fwdmft.corrections.layout import Layout
from fwdmft.corrections.sample_estimates import GROUPS, STEP, Estimates, Sums, estimates
from fwdmft.corrections.samples import PARTS
from fwdmft.engine.capacity import Bases, bases
from fwdmft.engine.infinite_width import Infinite, gradient_flow_ladders, relative
from fwdmft.engine.simulation import Large
from fwdmft.errors import ComputationError, FwdmftWarning
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan
from fwdmft.program.weights import InputWeights
from fwdmft.resources import DRAWN
from fwdmft.testing.agreement import ROUNDING, Estimate, assert_zero, rarely_exceeded
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
    sizes |= {"relative_error": PAYING}  # small enough for control variates
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
    assert diagnostics["control_variates"] > 0 and 0 < diagnostics["variance_left"] < 1
    assert diagnostics["self_check"] < 4, "q from draws alone is not that of the large simulation"


def test_control_variates_are_left_out_where_they_cost_more_than_they_save() -> None:
    asked = task(relative_error=2 * PAYING)
    known = Infinite({}, {}, 512, Bases(np.zeros(4), np.zeros(4), np.zeros(4)), asked.equations)
    assert control_variates(asked, asked.plan.ladder, known) is None


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


def test_gradient_flow_takes_the_neurons_that_bases_need() -> None:
    flow = replace(cramped(neurons=32), plan=Plan(np.full(2, 0.01), tolerance=0.5))
    assert len(gradient_flow_ladders(flow)[0]) > 1


@pytest.mark.parametrize(("layers", "resolve"), [(3, r" or theory\.basis_tolerance \(1e-06\)"), (2, "")])
def test_gradient_flow_that_is_not_reached_tells_what_to_change(
    layers: int, resolve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels of a ladder differ by what bases of random matrices leave out, however short their steps are."""
    equations, each = dense_network(X, 1.5, outputs=2, sigma_w=(1.0,) * layers), iter(range(100))
    flow = replace(task(), equations=equations, plan=Plan(np.full(2, 0.01), tolerance=1e-9))

    def large(*_: Any) -> Large:
        return Large({"prediction": 1.0 + 1e-6 * np.full((2, 3, 2), next(each) % 2)}, bases(()), equations)

    monkeypatch.setattr("fwdmft.engine.infinite_width.large", large)
    expected = rf"relative change of 1\.0e-06; .*1e-09: raise it, or take a smaller optimizer\.learning_rate{resolve}$"
    with pytest.raises(ComputationError, match=expected):
        gradient_flow_ladders(flow)


# --- estimates, of numbers whose Sigma and b are known ---

CONTRASTS = np.linalg.qr(np.column_stack([np.ones(PARTS), np.eye(PARTS)[:, 1:]]))[0].T[1:] / PARTS**0.5
"""Orthogonal to the sum over parts, and of the length of the mean."""

N, LINEAR, SQUARE = 8, np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.0, 2.0])


def draws_of_a_function(count: int, seed: int) -> dict[str, np.ndarray]:
    """q(m) = LINEAR m + SQUARE m^2 of the mean m of n standard normal numbers: Sigma = LINEAR^2, b = SQUARE.

    The mean of the numbers is the control variate.
    """
    parts = np.random.default_rng(seed).standard_normal((count, PARTS, 1)) / N**0.5
    x = parts.mean(axis=1)
    each, whole = (m * LINEAR + m**2 * SQUARE for m in (parts, x))
    mean = each.mean(axis=1)
    return {
        "mean": mean,
        "difference": CONTRASTS @ each,
        "change": whole - mean,
        "x": x,
        "x_difference": CONTRASTS @ parts,
    }


def of_function(count: int, controlled: bool, seed: int = 0) -> tuple[Any, next_order.Bias]:
    groups = [Sums() for _ in range(GROUPS)]
    for number, group in enumerate(groups):
        draws = draws_of_a_function(count // GROUPS, seed * GROUPS + number)
        if not controlled:
            draws |= {name: draws[name][..., :0] for name in ("x", "x_difference")}
        group.add(draws, slice(0, 3), (np.array([0]), np.array([2])))
    known = np.ones((1, 1, 1)) if controlled else np.zeros((1, 0, 0))
    actual = estimates(groups, N, known, slice(0, 3), (np.array([0]), np.array([2])))
    b = next_order.bias(
        actual.mean, actual.change, N, np.zeros(3), np.full(3, 1e-9), np.zeros(3), Layout({"f": (1, 3)}).sizes
    )
    return actual, b


@pytest.mark.parametrize("controlled", [True, False], ids=["control variates", "none"])
def test_estimates_of_a_known_function(controlled: bool) -> None:
    """Sigma and b within their standard errors; the covariance of outputs likewise; control variates help."""
    actual, b = of_function(16000, controlled)
    value, error = actual.sigma
    assert_zero("Sigma", Estimate.of(value - LINEAR**2, error, GROUPS), 1.0)
    assert_zero("b", Estimate.of(b.value - SQUARE, b.error, GROUPS), 1.0)
    if controlled:
        _, without = of_function(16000, False)
        assert b.error[0] < without.error[0]
        assert error[1] < of_function(16000, False)[0].sigma[1][1]
        # Ridge regression shrinks slopes by .25 draws in PARTS * 16000, and what they explain by twice that, up to the
        # relative error (2 / 64000)^(1/2) of the variance of x.
        np.testing.assert_allclose(actual.left[1], 0.5 / (PARTS * 16000), rtol=0.05)


def test_errors_of_estimates_are_honest() -> None:
    """Over independent repetitions, mean squared differences are as large as stated."""
    both = [of_function(1600, True, seed) for seed in range(1, 25)]
    for values, errors, exact in (
        ([f.sigma[0] for f, _ in both], [f.sigma[1] for f, _ in both], LINEAR**2),
        ([b.value for _, b in both], [b.error for _, b in both], SQUARE),
    ):
        measured, stated = np.mean((np.array(values) - exact) ** 2, axis=0), np.mean(np.array(errors) ** 2, axis=0)
        known = measured > 1e-20
        ratio, freedom = measured[known] / stated[known], (len(both), len(both) * (GROUPS - 1))
        assert (ratio < rarely_exceeded(*freedom)).all() and (1 / ratio < rarely_exceeded(*freedom[::-1])).all()
    # At width n, Var m^2 = 2 / n^2.
    for name, exact in (("full", np.outer(LINEAR, LINEAR)), ("variance", LINEAR**2 + 2 * SQUARE**2 / N)):
        values = np.stack([getattr(actual, name) for actual, _ in both])
        error = values.std(axis=0, ddof=1) / len(both) ** 0.5
        assert_zero(name, Estimate.of(values.mean(axis=0) - exact, error, len(both)), 1.0)


def test_what_sums_of_groups_are_written_as(whole: TheoryResult) -> None:
    """Nothing is lost when sums are put down."""
    from fwdmft.corrections.drawing import Drawn

    drawn = Drawn(4)
    for number in range(3):
        drawn.take(draws_of_a_function(4, number), slice(0, 2), (np.array([0]), np.array([1])))
    again = Drawn.of({name: a.copy() for name, a in drawn.arrays().items()})
    assert (again.chunk, again.done, again.count) == (4, 3, 12)
    for one, other in zip(drawn.groups, again.groups, strict=True):
        assert one.count == other.count and set(one.parts) == set(other.parts)
        for name, a in one.parts.items():
            np.testing.assert_array_equal(other.parts[name], a)


def test_single_steps_have_no_fluctuations_of_what_is_exact() -> None:
    """f(0) = 0 in every network: Sigma and b are zero, and so are their errors."""
    equations = dense_network(X, 1.5, outputs=2)
    short = replace(task(), equations=equations, plan=Plan(np.full(1, 0.1)))
    actual = solve(short)
    for part in (actual.variance, actual.bias, actual.variance_standard_error, actual.bias_standard_error):
        np.testing.assert_array_equal(part["prediction"], 0.0)
    assert np.all(np.einsum("tpcpc->tpc", actual.variance["tangent_kernel"]) > 0)


def test_next_order_of_an_entry_follows_its_own_growth() -> None:
    """V_n = S + a / n + a^2 / (S n^2): one variance of many grows by half of itself, the others do not grow."""
    n, small, a = 8, 5e-4, 2e-3
    names = ("prediction", "tangent_kernel")
    layout = Layout({name: (1, 20) for name in names})

    def variance(width: int) -> np.ndarray:
        values = np.ones(layout.size)
        values[[0, 20]] = small + a / width + a**2 / (small * width**2)
        return values

    growth = variance(PARTS * n) - variance(n)
    nothing, each = np.zeros(layout.size), np.zeros((GROUPS, layout.size))
    sigma = variance(n) + STEP * growth
    drawn = Estimates((sigma, nothing), (growth, nothing), variance(n), None, nothing, each, each, each)
    judged = _judged(drawn, SimpleNamespace(layout=layout, width=n, count=4096, rounding=1e-7, controlled=False), None)  # type: ignore[arg-type]
    value, error = (part[0] for part in judged.estimates.sigma)
    assert 0.5 * error < abs(value - small) < error
    assert np.max(judged.estimates.sigma[1][1:20]) < 1e-6


@pytest.mark.parametrize("fixed", [False, True], ids=["any width", "this width"])
def test_draws_become_wider_where_more_of_them_do_not_help(fixed: bool) -> None:
    """Variances fall to a fifth of V_n, so that what the next order may be, .16 V_n, is .8 of Sigma, however many draws
    there are. It falls like 1/n^2: twice the width leaves .2. In the pilot's noise all this is hidden."""
    n, most = 16, 16 * PILOT
    layout = Layout({name: (1, 20) for name in ("prediction", "tangent_kernel")})
    ones, each = np.ones(layout.size), np.zeros((GROUPS, layout.size))

    def extend(count: int) -> Estimates:
        drawing.count = count
        noise = (PILOT / count) ** 0.5 * ones
        return Estimates((0.2 * ones, noise), (-0.6 * ones, noise), ones, None, 0 * ones, each, each, each)

    drawing = SimpleNamespace(
        layout=layout, width=n, count=0, rounding=1e-7, controlled=False, extend=extend, tell=lambda errors: None
    )
    wanted = Wanted(0.2, ("sigma",), most, None, 1, False, 0, 1.0)
    actual = _at_width(drawing, None, wanted, fixed)  # type: ignore[arg-type]
    if fixed:
        assert isinstance(actual, FiniteWidth) and actual.errors["sigma"] > 0.8
    else:
        assert actual == pytest.approx(2.0)


def test_what_explodes_later_is_no_rounding_before() -> None:
    """f(0) = 0 to rounding of f(1); variances before the last two times are kept, whatever comes then."""
    layout = Layout({name: (4, 1) for name in ("prediction", "tangent_kernel")})
    variance = np.array([1e-16, 1.0, 1e8, 1e20, 1.0, 1.0, 1e8, 1e20])
    mean = np.tile([1e-9, 1.0, 1e4, 1e10, 1.0, 1.0, 1e4, 1e10], (GROUPS, 1))
    nothing = np.zeros(8)
    actual = Estimates((variance, nothing), (nothing, nothing), variance, None, nothing, mean, mean, 0 * mean)
    drawing = SimpleNamespace(layout=layout, width=8, count=512, rounding=np.finfo(np.float32).eps, controlled=False)
    drawing.extend, drawing.tell = lambda count: actual, lambda errors: None
    wanted = Wanted(0.1, ("sigma",), 512, 8, 1, False, 0, 1.0)
    judged = _at_width(drawing, None, wanted, fixed=True)  # type: ignore[arg-type]
    assert isinstance(judged, FiniteWidth)
    exact, kept = judged.estimates, [1, 4, 5]
    np.testing.assert_array_equal(exact.sigma[0][kept], variance[kept])
    assert exact.sigma[0][0] == exact.mean[0, 0] == 0


def test_errors_of_q_from_draws_are_honest() -> None:
    """Mean squares of differences from q are as large as stated, to 1 %: they have 2000 x 15 degrees of freedom."""
    rng, count = np.random.default_rng(0), 2000
    mean, change = rng.normal(size=(2, GROUPS, count))
    nothing = np.zeros(count)
    drawn = Estimates((nothing, nothing), (nothing, nothing), nothing, None, nothing, mean, mean, change)
    q, error = _limit(drawn)
    exact = (1 + STEP**2) / GROUPS
    assert abs(np.mean(error**2) / exact - 1) < 4 * (2 / (count * (GROUPS - 1))) ** 0.5
    assert abs(np.mean(q**2) / exact - 1) < 4 * (2 / count) ** 0.5


def test_errors_of_b_hold_what_control_variates_leave_of_q() -> None:
    """However well Sobol points integrate q itself: of a part that control variates explain they do not."""
    n, neurons, left, of_change = 8, 4096, 0.25, 0.1
    layout, rng = Layout({name: (1, 1000) for name in ("prediction", "tangent_kernel")}), np.random.default_rng(0)
    nothing, ones, zero = np.zeros(layout.size), np.ones(layout.size), np.zeros((GROUPS, layout.size))
    mean = zero + rng.normal(size=layout.size) * (left / neurons) ** 0.5
    change = rng.normal(size=zero.shape) * of_change * GROUPS**0.5 / (STEP * n)
    drawn = Estimates((ones, nothing), (nothing, nothing), ones, None, left * ones, zero, mean, change)
    exact = {name: np.zeros(shape) for name, shape in layout.shapes.items()}
    drawing = SimpleNamespace(layout=layout, width=n, count=4096, rounding=0.0, controlled=True)
    judged = _judged(drawn, drawing, Limit(exact, exact, exact, neurons, 4))  # type: ignore[arg-type]
    squares = (judged.bias.value / judged.bias.error) ** 2
    assert np.mean(squares) < 1 + 4 * (2 / layout.size) ** 0.5


def sampler(width: int, at_once: int) -> samples.Sampler:
    """Draws of the task above."""
    t = task()
    training, observing = t.training(t.plan.ladder), t.observing(False)
    return samples.Sampler(t.equations, t.equations, training, None, width, observing, at_once).single()


def test_draws_do_not_depend_on_how_many_come_at_once() -> None:
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(1), 12)
        # 12 are not a multiple of 5: they come 4 at a time.
        few, whole = (samples.draws(sampler(4, count), keys) for count in (5, 12))
    for a, b in zip(few, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


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
