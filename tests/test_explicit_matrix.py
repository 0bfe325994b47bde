"""Laws of explicit matrices that follow the numbers of mean-field neurons: their entries remain independent."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike
from jaxtyping import Array

from fwdmft.engine import explicit_matrix
from fwdmft.engine.basis_matrix import MatrixPrior
from fwdmft.engine.explicit_matrix import Directions, ExplicitMatrix
from fwdmft.engine.stencil import Stencil
from fwdmft.engine.update import Update, at_rest
from fwdmft.testing.agreement import ROUNDING

LAW = MatrixPrior(sigma=1.3, ratio=0.75, tolerance=0.0)
BANK = LAW._replace(stencil=Stencil(((0, 1), (1, -1)), 2))
"""Two offsets and two positions; beyond the second there is nothing."""
IN, OUT = 3, 4
RUNS = 40_000
EARLIER = np.array([[False, True], [False, False]])
"""Backward direction (row) 0 is met between the forward directions (column) 0 and 1, backward direction 1 last."""


def independent(neurons: tuple[int, int], prior: MatrixPrior, key: Array, dtype: DTypeLike) -> ExplicitMatrix:
    """A bank of independent entries. neurons: in, out."""
    return explicit_matrix.of(jax.random.normal(key, explicit_matrix.shape(prior, neurons), dtype), prior, False)


def adaptive(key: Array, prior: MatrixPrior) -> tuple[Directions, Directions]:
    """Two directions a side, each of which depends on all numbers of those before it, in the order of `EARLIER`."""
    offsets = prior.stencil.offsets
    ahead = jax.random.normal(jax.random.fold_in(key, 1), (2, offsets, OUT))
    back = jax.random.normal(jax.random.fold_in(key, 2), (2, offsets, IN))
    v0 = jnp.ones(IN)
    u0 = ahead[0].sum(0)
    v1 = v0 + back[0].sum(0) + u0[:IN]
    u1 = u0 + ahead[1].sum(0) * jnp.sum(u0**2) + jnp.sum(back[0] ** 2)
    return Directions(jnp.stack([v0, v1]), ahead), Directions(jnp.stack([u0, u1]), back)


def entries(prior: MatrixPrior, order: Callable[[Array], Array] = lambda e: e, project: bool = True) -> np.ndarray:
    """Entries / sigma of many matrices (run, entry). order: of the directions. project: or not, which is wrong."""

    def one(key: Array) -> Array:
        drawn = independent((IN, OUT), prior, key, jnp.float32)
        forward, backward = adaptive(key, prior)
        if project:
            drawn = explicit_matrix.shared_with(drawn, forward, backward, order(jnp.asarray(EARLIER)), prior)
            return drawn.weights.value.ravel() / prior.sigma
        w = drawn.weights.value
        for vector, numbers in zip(forward.vectors, forward.numbers, strict=True):
            unit = vector / jnp.linalg.norm(vector)
            w = w + (prior.sigma * numbers - w @ unit)[..., None] * unit
        for vector, numbers in zip(backward.vectors, backward.numbers, strict=True):
            unit = vector / jnp.linalg.norm(vector)
            w = w + unit[:, None] * (prior.sigma * numbers - unit @ w)[:, None]
        return w.ravel() / prior.sigma

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), RUNS)), np.float64)


def deviations(x: np.ndarray) -> float:
    """The largest deviation from moments of independent N(0, 1) numbers, in standard errors."""
    count = x.shape[1]
    pairs = np.triu_indices(count, 1)
    actual = []
    for power, mean, square in ((1, 0, 1), (2, 1, 3), (4, 3, 105)):
        actual.append((np.mean(x**power, axis=0) - mean) / np.sqrt(square - mean**2))
    for power, variance in ((1, 1), (2, 4)):
        centred = x**power - (power == 2)
        actual.append((centred.T @ centred / len(x))[pairs] / np.sqrt(variance))
    # Of squared singular values: they see correlations of four entries.
    w = x.reshape(len(x), -1, OUT, IN)
    gram = np.einsum("rkoi,rkoj->rkij", w, w)
    traces = np.einsum("rkij,rkij->rk", gram, gram)
    expected = IN * OUT * (IN + OUT + 1)
    actual.append((traces.mean(0) - expected) / traces.std(0))
    return float(np.max(np.abs(np.concatenate(actual))) * np.sqrt(len(x)))


@pytest.mark.parametrize("prior", [LAW, BANK])
def test_entries_are_independent(prior: MatrixPrior) -> None:
    assert deviations(entries(prior)) < 4.5


def test_another_order_of_the_directions_breaks_the_law() -> None:
    assert deviations(entries(LAW, jnp.logical_not)) > 10


def test_without_projection_the_law_breaks() -> None:
    assert deviations(entries(LAW, project=False)) > 10


def test_closed_form_is_one_update_after_the_other() -> None:
    """Per event: W <- W + (1 - F F^T) (xi - W u) u^T, and the same for the other side."""
    neurons, counts, prior = (7, 6), (4, 9), BANK
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal((counts[0], neurons[0])), rng.standard_normal((counts[1], neurons[1]))
    v[2] = 2 * v[0] - v[1]
    xi = rng.standard_normal((counts[0], 2, neurons[1]))
    zeta = rng.standard_normal((counts[1], 2, neurons[0]))
    events = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2), (1, 3), (0, 3), *[(1, i) for i in range(4, 9)]]
    when = {event: place for place, event in enumerate(events)}
    earlier = np.array([[when[1, b] < when[0, f] for f in range(counts[0])] for b in range(counts[1])])
    with jax.enable_x64(True):
        drawn = independent(neurons, prior, jax.random.key(0), float)
        sides = Directions(jnp.asarray(v), jnp.asarray(xi)), Directions(jnp.asarray(u), jnp.asarray(zeta))
        actual = explicit_matrix.shared_with(drawn, *sides, jnp.asarray(earlier), prior).weights.value
    w = np.asarray(drawn.weights.value)
    spans: tuple[list, list] = ([], [])

    def project(side: int, a: np.ndarray) -> np.ndarray:
        for unit in spans[side]:
            a = a - (a @ unit)[..., None] * unit
        return a

    for side, number in events:
        unit = project(side, (v, u)[side][number])
        if np.linalg.norm(unit) < 1e-3:
            continue
        unit = unit / np.linalg.norm(unit)
        if side == 0:
            change = project(1, prior.sigma * xi[number] - w @ unit)
            w = w + change[..., None] * unit
        else:
            change = project(0, prior.sigma * zeta[number] - unit @ w)
            w = w + unit[:, None] * change[:, None]
        spans[side].append(unit)
    np.testing.assert_allclose(actual, w, atol=ROUNDING)


def test_products_follow_the_numbers_where_there_are_many_neurons() -> None:
    neurons = 2000
    keys = jax.random.split(jax.random.key(1), 4)
    forward, backward = (
        Directions(jax.random.normal(keys[i], (3, neurons)), jax.random.normal(keys[i + 2], (3, 1, neurons)))
        for i in range(2)
    )
    earlier = jnp.arange(3)[:, None] < jnp.arange(3)
    drawn = independent((neurons, neurons), LAW, jax.random.key(2), jnp.float32)
    shared = explicit_matrix.shared_with(drawn, forward, backward, earlier, LAW)
    products = shared.apply(forward.vectors[:, None], jnp.zeros(0), LAW)[1].value[:, 0]
    correlations = np.corrcoef(np.asarray(products), np.asarray(forward.numbers[:, 0]))[:3, 3:]
    np.testing.assert_allclose(correlations, np.eye(3), atol=4 / neurons**0.5)
    assert np.diagonal(correlations).min() > 0.99


def test_a_side_without_directions_changes_nothing() -> None:
    """No direction, and one of zeros, which takes away nothing either."""
    drawn = independent((IN, OUT), LAW, jax.random.key(0), jnp.float32)
    forward = Directions(jnp.ones((1, IN)), jnp.ones((1, 1, OUT)))
    actual = []
    for count in (0, 1):
        backward = Directions(jnp.zeros((count, OUT)), jnp.zeros((count, 1, IN)))
        shared = explicit_matrix.shared_with(drawn, forward, backward, jnp.zeros((count, 1), bool), LAW)
        actual.append(np.asarray(shared.weights.value))
    np.testing.assert_array_equal(*actual)
    assert not np.array_equal(actual[0], drawn.weights.value)


def test_products_and_learning_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal((2, OUT, IN))
    v, s = rng.standard_normal((5, 2, IN)), rng.standard_normal((5, 2, OUT))
    with jax.enable_x64(True):
        matrix = ExplicitMatrix(at_rest(jnp.asarray(w), True))
        ahead = matrix.apply(jnp.asarray(v), jnp.zeros(0), BANK)[1].value
        back = matrix.apply_transposed(jnp.asarray(s), jnp.zeros(0), BANK)[1].value
        update = Update(jnp.asarray(0.1), 0.9, 0.01)
        nothing = jnp.zeros(0)
        once = matrix.learn(jnp.asarray(s), nothing, jnp.asarray(v), nothing, BANK, update)
        twice = once.learn(jnp.asarray(s), nothing, jnp.asarray(v), nothing, BANK, update)
    # Offset 0 reads positions 0 and 1 at places 0 and 1, offset 1 reads position 1 at place 0.
    expected = np.stack([v[:, 0] @ w[0].T + v[:, 1] @ w[1].T, v[:, 1] @ w[0].T], axis=1) / np.sqrt(2 * IN)
    np.testing.assert_allclose(ahead, expected, atol=ROUNDING)
    expected = np.stack([s[:, 0] @ w[0], s[:, 1] @ w[0] + s[:, 0] @ w[1]], axis=1) / np.sqrt(2 * OUT)
    np.testing.assert_allclose(back, expected, atol=ROUNDING)
    gain = np.stack([s[:, 0].T @ v[:, 0] + s[:, 1].T @ v[:, 1], s[:, 0].T @ v[:, 1]]) / np.sqrt(2 * IN)
    velocity = gain - 0.01 * w
    after = w + 0.1 * velocity
    np.testing.assert_allclose(once.weights.value, after, atol=ROUNDING)
    velocity = 0.9 * velocity + gain - 0.01 * after
    np.testing.assert_allclose(twice.weights.value, after + 0.1 * velocity, atol=ROUNDING)
