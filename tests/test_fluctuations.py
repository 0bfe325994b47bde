"""Sigma and b against dense derivatives: one reverse pass per output, and the full Hessian, on a few neurons."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.activations import activation
from fwdmft.errors import ComputationError
from fwdmft.meanfield import neurons
from fwdmft.meanfield.chain import make_chain
from fwdmft.meanfield.dynamics import make_drive
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.meanfield.fluctuations import Fluctuations, fluctuations
from fwdmft.meanfield.influences import EMPHASIS, centred, indirect_subspace, random_directions
from fwdmft.meanfield.lazy import LazyEquations
from fwdmft.meanfield.passes import AXIS, Passes, Problem, differences, responses, with_room
from fwdmft.meanfield.weights import InputWeights
from fwdmft.meanfield.wiring import Wiring
from fwdmft.optimization import Plan
from fwdmft.spec.loss import SquaredError

X = np.array([[1.2, -0.7, 0.4], [0.3, 1.1, -0.8], [-0.5, 0.6, 1.3]])
Y = np.array([[1.0, -0.5], [0.4, 0.8], [0.0, 0.0]])
NEURONS, RATES = 40, np.full(7, 0.2)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _problem(lazy: bool, weights: np.ndarray | None = None) -> tuple[Problem, dict[str, jax.Array]]:
    chain = make_chain(X, [activation("tanh")], 1.5, Wiring(1, 2, (1.0, 1.0), sigma_b=0.3))
    equations = LazyEquations(chain) if lazy else chain
    plan = Plan(RATES, momentum=0.3)
    drive = make_drive(plan, SquaredError(), Y, np.array([True, True, False]), save_every=2)
    noise = neurons.sample(equations.populations, equations.supplies, NEURONS, seed=3)
    problem = Problem(equations, jax.tree.map(jnp.asarray, noise), drive)
    if weights is None:
        return problem, problem.equal_weights()
    return problem, {population.name: jnp.asarray(weights) for population in equations.populations}


@cache
def _passes(lazy: bool) -> Passes:
    return Passes(*_problem(lazy), block=8, bias=True)


def _computed(problem: Problem, p: dict[str, jax.Array], lazy: bool) -> Fluctuations:
    passes = _passes(lazy)
    return fluctuations(passes, problem, p, covariance=True, max_rank=NEURONS, tolerance=1e-15, probes=4, seed=0)


@pytest.mark.parametrize("lazy", [False, True])
def test_dense_derivatives(lazy: bool) -> None:
    """Unequal weights p, several outputs, momentum, a last interval that is shorter than save_every."""
    weights = np.random.default_rng(0).uniform(0.5, 1.5, NEURONS)
    problem, p = _problem(lazy, weights / weights.sum())
    ((name, p_i),) = p.items()
    spread = jnp.diag(p_i) - jnp.outer(p_i, p_i)  # Cov of N^(1/2) times the empirical weights
    slope_of = jax.jacrev(lambda p: problem.observables(p, p))
    slopes, curvatures = jax.jit(slope_of)(p), jax.jit(jax.jacfwd(slope_of))(p)
    found = _computed(problem, p, lazy)
    for observable, slope in slopes.items():
        exact = jnp.einsum("...i,ij,...j->...", slope[name], spread, slope[name])
        scale = float(jnp.max(exact))
        np.testing.assert_allclose(found.variance[observable], exact, atol=1e-8 * scale, err_msg=observable)
        bias = jnp.einsum("...ij,ij->...", curvatures[observable][name][name], spread) / 2
        scale = float(jnp.max(jnp.abs(bias)))
        np.testing.assert_allclose(found.bias[observable], bias, atol=1e-6 * scale, err_msg=observable)
    flat = slopes["prediction"][name].reshape(-1, NEURONS)
    covariance = flat @ spread @ flat.T
    np.testing.assert_allclose(found.prediction_covariance, covariance, atol=1e-8 * float(covariance.max()))
    times, points, outputs = slopes["prediction"][name].shape[:3]
    blocks = covariance.reshape(times, points, outputs, times, points, outputs)
    equal = np.einsum("tpctpd->tpcd", blocks)
    np.testing.assert_allclose(found.equal_time_covariance, equal, atol=1e-8 * float(covariance.max()))


def test_many_points_in_few_dimensions() -> None:
    """With P > 2 D training acts through a root of the Gram matrix: the same action, and the same factor of it."""
    x = np.random.default_rng(1).standard_normal((9, 2))
    weights = InputWeights(x, sigma_w=1.5, sigma_b=0.4)
    signal = jnp.asarray(np.random.default_rng(2).standard_normal((9, 4)))
    assert weights.root is not None and weights.root.shape == (9, 3)
    expected = 0.7 * (x @ x.T / 2 + 0.16) @ signal
    np.testing.assert_allclose(weights.direction(signal, jnp.asarray(0.7)), expected, rtol=1e-12, atol=1e-12)
    covariance = 2.25 * x @ x.T / 2 + 0.16
    np.testing.assert_allclose(weights.factor @ weights.factor.T, covariance, rtol=1e-12, atol=1e-12)


def test_differences_are_derivatives() -> None:
    """Passes that follow the decisions of a first one differ smoothly: central differences equal jvp and jvp of jvp."""
    chain = make_chain(X[:2], [activation("tanh")] * 2, 1.5, Wiring(2, 1, (1.0, 1.2, 1.0), sigma_b=0.3))
    drive = make_drive(Plan(np.full(4, 0.2)), SquaredError(), Y[:2, :1], np.array([True, False]), save_every=1)

    def pose(equations: FieldEquations) -> Problem:
        noise = neurons.sample(equations.populations, equations.supplies, 256, seed=3)
        return Problem(equations, jax.tree.map(jnp.asarray, noise), drive)

    problem = pose(with_room(chain, pose)[0])
    p, led = problem.equal_weights(), problem.equations.following(AXIS)
    directions, weights = random_directions(p, 2, (0,)), np.array([0.3, 1.0])
    exact = responses(problem, p, directions, weights, True)
    found = differences(replace(problem, equations=led), p, directions, weights, True)
    for actual, expected in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5 * float(jnp.max(jnp.abs(expected))))


def test_overflow_is_reported() -> None:
    """Influences that overflow before predictions do are no NaN in a file."""
    problem, p = _problem(lazy=False)
    broken = Problem(problem.equations, jax.tree.map(lambda a: a.at[0, 0].set(jnp.inf), problem.noise), problem.drive)
    with pytest.raises(ComputationError, match="influence of single neurons overflows"):
        _computed(broken, p, lazy=False)


class _KnownInfluences:
    """Stands for `Passes`: indirect influences of neurons on predictions at each time are the columns of a matrix."""

    block = 4

    def __init__(self, columns: np.ndarray):
        self.columns = columns

    def influences(self, problem: object, p: object, combinations: dict[str, jax.Array]) -> jax.Array:
        return combinations["prediction"] @ self.columns.T


def test_the_basis_takes_in_direct_influences_on_predictions() -> None:
    """Up to a smaller share than of the indirect ones: in converged predictions both cancel, and so do their rests."""
    rng, tolerance, times, count = np.random.default_rng(0), 0.02, 30, 200
    p = {"neurons": jnp.full(count, 1 / count)}
    spectrum = 0.6 ** np.arange(12)
    direct, rest = (centred(p, rng.standard_normal((12, count))).T * spectrum for _ in range(2))
    in_time = rng.standard_normal((12, times))
    direct, indirect = direct @ in_time, (rest - direct) @ in_time
    subspace = indirect_subspace(
        _KnownInfluences(indirect),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        p,
        {"prediction": np.ones(times)},
        max_rank=100,
        tolerance=tolerance,
        seed=0,
        company=0,
        direct=lambda combinations: np.asarray(combinations["prediction"]) @ direct.T,
    )

    def left_out(columns: np.ndarray) -> float:
        return float(np.sum((columns - subspace.basis @ (subspace.basis.T @ columns)) ** 2) / np.sum(columns**2))

    assert subspace.basis.shape[1] < 24
    assert left_out(indirect) < tolerance
    assert left_out(direct) < tolerance / EMPHASIS
