"""Laws of Gaussian conditioning: products with a matrix that is never formed have the law of an explicit one."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.meanfield import gaussian_matrix
from fwdmft.meanfield.field_equations import Update
from fwdmft.meanfield.gaussian_matrix import GaussianMatrix, Law

LAW = Law(sigma=1.3, ratio=0.75, tolerance=1e-12)
IN, OUT = 24, 32
RUNS = 4000


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


class Implicit(NamedTuple):
    """The conditioned matrix with its noise."""

    matrix: GaussianMatrix
    noise: tuple[jax.Array, jax.Array]

    def times(self, v: jax.Array) -> tuple["Implicit", jax.Array]:
        matrix, product = gaussian_matrix.apply(self.matrix, v, self.noise[0], *equal(), LAW)
        return self._replace(matrix=matrix), product.value

    def transposed_times(self, v: jax.Array) -> tuple["Implicit", jax.Array]:
        matrix, product = gaussian_matrix.apply_transposed(self.matrix, v, self.noise[1], *equal(), LAW)
        return self._replace(matrix=matrix), product.value


class Explicit(NamedTuple):
    """An ordinary matrix, entries N(0, sigma^2)."""

    entries: jax.Array

    def times(self, v: jax.Array) -> tuple["Explicit", jax.Array]:
        return self, v @ self.entries.T / IN**0.5

    def transposed_times(self, v: jax.Array) -> tuple["Explicit", jax.Array]:
        return self, v @ self.entries / OUT**0.5


def equal() -> tuple[jax.Array, jax.Array]:
    return jnp.full(IN, 1 / IN), jnp.full(OUT, 1 / OUT)


def implicit(key: jax.Array, capacity: int = 20) -> Implicit:
    keys = jax.random.split(key)
    noise = jax.random.normal(keys[0], (capacity, OUT)), jax.random.normal(keys[1], (capacity, IN))
    return Implicit(gaussian_matrix.untouched((capacity, capacity), (IN, OUT), False), noise)


def explicit(key: jax.Array) -> Explicit:
    return Explicit(LAW.sigma * jax.random.normal(key, (OUT, IN)))


def sequence(W: Implicit | Explicit, blocks: bool = True) -> jax.Array:
    """Forward and transposed products of vectors made of earlier products, then statistics of all of them.

    Vectors are nonlinear in earlier products, some repeat earlier ones or lie in their span, and one is zero.
    """
    v = jnp.stack([jnp.linspace(-1, 1, IN), jnp.cos(jnp.arange(IN)), jnp.zeros(IN)])
    if blocks:
        W, a = W.times(v)
    else:
        parts = []
        for row in v:
            W, part = W.times(row[None])
            parts.append(part)
        a = jnp.concatenate(parts)
    s = jnp.stack([jnp.tanh(a[0] + 0.3), a[1] * jnp.abs(a[0]), a[0] - a[1]])
    W, b = W.transposed_times(s)
    back = jnp.concatenate([v[:2] * b[:2], v[:1] + b[:1], 2 * v[:1] - v[1:2]])
    W, c = W.times(back)
    W, d = W.transposed_times(jnp.concatenate([jnp.sin(c[:2]), c[2:] + a[:1]]))
    grams = [x @ y.T / x.shape[1] for x, y in ((a, a), (a, c), (c, c), (b, b), (b, d), (d, d), (v, b), (s, a), (s, c))]
    return jnp.concatenate([g.ravel() for g in grams])


def drawn(kind: str, blocks: bool = True) -> np.ndarray:
    build = implicit if kind == "implicit" else explicit
    keys = jax.random.split(jax.random.key({"implicit": 0, "explicit": 1}[kind] + 2 * blocks), RUNS)
    return np.asarray(jax.jit(jax.vmap(lambda key: sequence(build(key), blocks)))(keys))


def disagreement(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of means and of mean squares, in standard errors."""
    worst = 0.0
    for x, y in ((a, b), (a**2, b**2)):
        error = np.hypot(x.std(axis=0), y.std(axis=0)) / RUNS**0.5
        scale = np.abs(x).max() + np.abs(y).max()
        worst = max(worst, float(np.max(np.abs(x.mean(axis=0) - y.mean(axis=0)) / (error + 1e-12 * scale))))
    return worst


def test_products_have_the_law_of_an_explicit_matrix() -> None:
    """Gram matrices and cross products, first and second moments; at 24 and 32 neurons, hence to all orders in 1/N."""
    assert disagreement(drawn("implicit"), drawn("explicit")) < 4.5


def test_the_comparison_sees_what_each_term_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the transposed products revealed, or with an unscaled ratio, the law is another."""
    expected = drawn("explicit")
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "LAW", LAW._replace(ratio=1.0))
        assert disagreement(drawn("implicit"), expected) > 10
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "LAW", LAW._replace(sigma=1.0))
        assert disagreement(drawn("implicit"), expected) > 10


def test_block_order_does_not_matter() -> None:
    """Vectors one by one, or together: another choice of basis, the same law."""
    assert disagreement(drawn("implicit", blocks=False), drawn("explicit")) < 4.5


def random_rows(seed: int, count: int, size: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (count, size))


def test_coordinates_reproduce_vectors() -> None:
    """v = coordinates^T E for unequal weights, E orthonormal under them; products are linear."""
    p_in, p_out = (jax.random.dirichlet(jax.random.key(n), jnp.full(n, 5.0)) for n in (IN, OUT))
    state = implicit(jax.random.key(0))
    matrix, v = state.matrix, random_rows(1, 4, IN)
    for _ in range(2):
        matrix, product = gaussian_matrix.apply(matrix, v, state.noise[0], p_in, p_out, LAW)
        side = matrix.forward
        np.testing.assert_allclose(product.coordinates.T @ side.basis, v, atol=1e-12)
        gram = np.zeros((len(side.basis),) * 2)
        gram[: int(side.rank), : int(side.rank)] = np.eye(int(side.rank))
        np.testing.assert_allclose((p_in * side.basis) @ side.basis.T, gram, atol=1e-12)
        mixed = jnp.stack([v[0] - 2 * v[1], v[2], random_rows(2, 1, IN)[0]])
        v = mixed
    again, product = gaussian_matrix.apply(matrix, jnp.stack([v[0] + v[2]]), state.noise[0], p_in, p_out, LAW)
    assert int(again.forward.rank) == int(matrix.forward.rank) == 5
    _, parts = gaussian_matrix.apply(matrix, v, state.noise[0], p_in, p_out, LAW)
    np.testing.assert_allclose(product.value[0], parts.value[0] + parts.value[2], atol=1e-12)


def test_forward_and_transposed_products_are_consistent() -> None:
    """<s W v>_out = <W^T s v>_in (up to the ratio of widths), also after training with momentum and weight decay."""
    p_in, p_out = (jax.random.dirichlet(jax.random.key(n), jnp.full(n, 5.0)) for n in (IN, OUT))
    start = implicit(jax.random.key(3))
    matrix = gaussian_matrix.untouched((20, 20), (IN, OUT), True)
    v, s = random_rows(4, 2, IN), random_rows(5, 2, OUT)
    update = Update(jnp.asarray(0.3), 0.6, 0.2)
    for t in range(4):
        matrix, forward = gaussian_matrix.apply(matrix, jnp.tanh(v + t), start.noise[0], p_in, p_out, LAW)
        matrix, backward = gaussian_matrix.apply_transposed(matrix, s + forward.value, start.noise[1], p_in, p_out, LAW)
        left = ((s + forward.value) * p_out) @ forward.value.T
        right = (backward.value * p_in) @ jnp.tanh(v + t).T
        np.testing.assert_allclose(left, LAW.ratio**0.5 * right, atol=1e-10)
        matrix = gaussian_matrix.learn(
            matrix, s + forward.value, backward.coordinates, jnp.tanh(v + t), forward.coordinates, LAW, update
        )


def test_training_acts_as_on_an_explicit_matrix() -> None:
    """The learned part is sum s v^T / sqrt(N_in) with momentum and decay; conditioning supplies the initial one."""
    start, update = implicit(jax.random.key(6)), Update(jnp.asarray(0.3), 0.6, 0.2)
    matrix = gaussian_matrix.untouched((20, 20), (IN, OUT), True)
    learned, velocity, kept, kept_velocity = np.zeros((OUT, IN)), np.zeros((OUT, IN)), 1.0, 0.0
    probes = random_rows(7, 3, IN)
    matrix, initial = gaussian_matrix.apply(matrix, probes, start.noise[0], *equal(), LAW)
    for t in range(3):
        v, s = random_rows(8 + t, 2, IN), random_rows(20 + t, 2, OUT)
        matrix, forward = gaussian_matrix.apply(matrix, v, start.noise[0], *equal(), LAW)
        matrix, backward = gaussian_matrix.apply_transposed(matrix, s, start.noise[1], *equal(), LAW)
        matrix = gaussian_matrix.learn(matrix, s, backward.coordinates, v, forward.coordinates, LAW, update)
        velocity = 0.6 * velocity + np.asarray(s.T @ v) / IN**0.5 - 0.2 * learned
        learned = learned + 0.3 * velocity
        kept_velocity = 0.6 * kept_velocity - 0.2 * kept
        kept = kept + 0.3 * kept_velocity
    _, trained = gaussian_matrix.apply(matrix, probes, start.noise[0], *equal(), LAW)
    expected = kept * initial.value + probes @ learned.T / IN**0.5
    np.testing.assert_allclose(trained.value, expected, atol=1e-10)


def test_small_residuals_are_dropped_and_reported() -> None:
    """Shares below the tolerance take no basis vector; too many vectors for the room are reported, and harm nothing."""
    law = LAW._replace(tolerance=1e-4)
    state, v = implicit(jax.random.key(0), capacity=6), random_rows(9, 2, IN)
    matrix, first = gaussian_matrix.apply(state.matrix, v, state.noise[0], *equal(), law)
    near = v[:1] + 3e-3 * random_rows(10, 1, IN)
    matrix, _ = gaussian_matrix.apply(matrix, near, state.noise[0], *equal(), law)
    assert int(matrix.forward.rank) == 2 and not bool(matrix.forward.full)
    assert 1e-7 < float(matrix.forward.dropped) < 1e-4
    matrix, _ = gaussian_matrix.apply(matrix, random_rows(11, 4, IN), state.noise[0], *equal(), law)
    assert int(matrix.forward.rank) == 6
    matrix, _ = gaussian_matrix.apply(matrix, random_rows(12, 2, IN), state.noise[0], *equal(), law)
    assert bool(matrix.forward.full) and int(matrix.forward.rank) == 6
    _, again = gaussian_matrix.apply(matrix, v, state.noise[0], *equal(), law)
    np.testing.assert_allclose(again.value, first.value, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_in_the_weights_are_those_of_any_basis(order: int) -> None:
    """A statistic of the products is a smooth function of p: automatic derivatives equal difference quotients.

    The choice of directions is part of the function, so it is kept apart from decisions: all residuals are large.
    """
    start = implicit(jax.random.key(13))
    change = random_rows(14, 1, IN)[0] / IN
    change = change - jnp.mean(change)

    @jax.jit
    def q(e: jax.Array) -> jax.Array:
        p_in, p_out = equal()
        p = p_in + e * change
        matrix, a = gaussian_matrix.apply(start.matrix, random_rows(15, 1, IN), start.noise[0], p, p_out, LAW)
        matrix, b = gaussian_matrix.apply_transposed(matrix, jnp.tanh(a.value), start.noise[1], p, p_out, LAW)
        _, c = gaussian_matrix.apply(matrix, jnp.sin(b.value), start.noise[0], p, p_out, LAW)
        return jnp.sum(p_out * c.value**2) + jnp.sum(p * b.value**2)

    h = 1e-3
    values = [float(q(jnp.asarray(k * h))) for k in (-2, -1, 0, 1, 2)]
    if order == 1:
        exact, estimate = jax.grad(q)(0.0), np.dot(values, [1, -8, 0, 8, -1]) / (12 * h)
    else:
        exact, estimate = jax.grad(jax.grad(q))(0.0), np.dot(values, [-1, 16, -30, 16, -1]) / (12 * h**2)
    np.testing.assert_allclose(exact, estimate, rtol=1e-6)
