"""Laws of Gaussian conditioning: products with a matrix that is never formed have the law of an explicit one."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.engine import basis_matrix
from fwdmft.engine.basis_matrix import BasisMatrix
from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.orthonormalising import orthonormalising
from fwdmft.engine.stencil import Stencil
from fwdmft.engine.update import Update
from fwdmft.testing.agreement import ROUNDING

apply = eqx.filter_jit(BasisMatrix.apply)
apply_transposed = eqx.filter_jit(BasisMatrix.apply_transposed)
learn = eqx.filter_jit(BasisMatrix.learn)

LAW = MatrixPrior(sigma=1.3, ratio=0.75, tolerance=1e-12)
BANK = LAW._replace(stencil=Stencil(((0, 1), (1, -1)), 2))
"""Two offsets and two positions; beyond the second there is nothing."""
IN, OUT = 24, 32
RUNS = 4000


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


class Implicit(NamedTuple):
    """The conditioned matrix (or bank) with its noise. Vectors are (vector, position, neuron)."""

    matrix: BasisMatrix
    noise: tuple[jax.Array, jax.Array]
    prior: MatrixPrior

    def times(self, v: jax.Array) -> tuple["Implicit", jax.Array]:
        matrix, product = self.matrix.apply(v, self.noise[0], self.prior)
        return self._replace(matrix=matrix), product.value

    def transposed_times(self, v: jax.Array) -> tuple["Implicit", jax.Array]:
        matrix, product = self.matrix.apply_transposed(v, self.noise[1], self.prior)
        return self._replace(matrix=matrix), product.value


class Explicit(NamedTuple):
    """Ordinary matrices, one per offset, with entries N(0, sigma^2)."""

    entries: jax.Array
    stencil: Stencil

    def times(self, v: jax.Array) -> tuple["Explicit", jax.Array]:
        return self, self._sum(v, self.stencil.reads, jnp.swapaxes(self.entries, 1, 2) / IN**0.5)

    def transposed_times(self, v: jax.Array) -> tuple["Explicit", jax.Array]:
        return self, self._sum(v, self.stencil.transposed.reads, self.entries / OUT**0.5)

    def _sum(self, v: jax.Array, reads: tuple[tuple[int, ...], ...], matrices: jax.Array) -> jax.Array:
        """Offset by offset and place by place."""
        places = []
        for place in range(len(reads[0])):
            read = [(matrices[k], positions[place]) for k, positions in enumerate(reads) if positions[place] >= 0]
            places.append(sum(v[:, position] @ matrix for matrix, position in read) / len(reads) ** 0.5)
        return jnp.stack(places, axis=1)


def implicit(key: jax.Array, capacity: int = 20, prior: MatrixPrior = LAW) -> Implicit:
    keys, offsets = jax.random.split(key), prior.stencil.offsets
    noise = [jax.random.normal(k, (capacity * offsets, n)) for k, n in zip(keys, (OUT, IN), strict=True)]
    matrix = basis_matrix.untouched((capacity, capacity), (IN, OUT), False, offsets)
    return Implicit(matrix, (noise[0], noise[1]), prior)


def explicit(key: jax.Array, prior: MatrixPrior = LAW) -> Explicit:
    return Explicit(prior.sigma * jax.random.normal(key, (prior.stencil.offsets, OUT, IN)), prior.stencil)


def sequence(W: Implicit | Explicit, positions: int, blocks: bool = True) -> jax.Array:
    """Forward and transposed products of vectors made of earlier products, then statistics of all of them.

    Vectors are nonlinear in earlier products, some repeat earlier ones or lie in their span, and one is zero.
    """
    single = jnp.stack([jnp.linspace(-1, 1, IN), jnp.cos(jnp.arange(IN)), jnp.zeros(IN)])
    v = jnp.stack([jnp.roll(single, 5 * position, axis=1) for position in range(positions)], axis=1)
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
    pairs = ((a, a), (a, c), (c, c), (b, b), (b, d), (d, d), (v, b), (s, a), (s, c))
    grams = [jnp.tensordot(x, y, axes=([2], [2])) / x.shape[2] for x, y in pairs]
    return jnp.concatenate([g.ravel() for g in grams])


@cache
def drawn(kind: str, prior: MatrixPrior = LAW, blocks: bool = True) -> np.ndarray:
    build = implicit if kind == "implicit" else explicit
    keys = jax.random.split(jax.random.key({"implicit": 0, "explicit": 1}[kind] + 2 * blocks), RUNS)
    run = jax.jit(jax.vmap(lambda key: sequence(build(key, prior=prior), prior.stencil.sources, blocks)))
    return np.asarray(run(keys))


def disagreement(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of means and of mean squares, in standard errors."""
    worst = 0.0
    for x, y in ((a, b), (a**2, b**2)):
        error = np.hypot(x.std(axis=0), y.std(axis=0)) / RUNS**0.5
        scale = np.abs(x).max() + np.abs(y).max()
        worst = max(worst, float(np.max(np.abs(x.mean(axis=0) - y.mean(axis=0)) / (error + 1e-12 * scale))))
    return worst


@pytest.mark.parametrize("prior", [LAW, BANK], ids=["matrix", "bank"])
def test_products_have_the_law_of_an_explicit_matrix(prior: MatrixPrior) -> None:
    """Gram matrices and cross products, first and second moments; at 24 and 32 neurons, hence to all orders in 1/N."""
    assert disagreement(drawn("implicit", prior), drawn("explicit", prior)) < 4.5


@pytest.mark.parametrize(
    "prior",
    [LAW._replace(ratio=1.0), LAW._replace(sigma=1.0), BANK._replace(stencil=Stencil(((0, 1), (-1, 0)), 2))],
    ids=["ratio", "sigma", "stencil"],
)
def test_the_comparison_sees_another_law(prior: MatrixPrior) -> None:
    """An unscaled ratio, another variance, a bank that reads the other neighbour."""
    assert disagreement(drawn("implicit", prior), drawn("explicit", BANK if prior.stencil.offsets == 2 else LAW)) > 10


def test_block_order_does_not_matter() -> None:
    """Vectors one by one, or together: another choice of basis, the same law."""
    assert disagreement(drawn("implicit", blocks=False), drawn("explicit")) < 4.5


def random_rows(seed: int, count: int, size: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (count, 1, size))


def test_coordinates_reproduce_vectors() -> None:
    """v = coordinates^T E with E orthonormal; products are linear."""
    state = implicit(jax.random.key(0))
    matrix, v = state.matrix, random_rows(1, 4, IN)
    for _ in range(2):
        matrix, product = apply(matrix, v, state.noise[0], LAW)
        side = matrix.forward
        np.testing.assert_allclose(product.coordinates[:, :, 0].T @ side.basis, v[:, 0], atol=ROUNDING)
        gram = np.zeros((len(side.basis),) * 2)
        gram[: int(side.rank), : int(side.rank)] = np.eye(int(side.rank))
        np.testing.assert_allclose(side.basis @ side.basis.T / IN, gram, atol=ROUNDING)
        mixed = jnp.stack([v[0] - 2 * v[1], v[2], random_rows(2, 1, IN)[0]])
        v = mixed
    again, product = apply(matrix, jnp.stack([v[0] + v[2]]), state.noise[0], LAW)
    assert int(again.forward.rank) == int(matrix.forward.rank) == 5
    _, parts = apply(matrix, v, state.noise[0], LAW)
    np.testing.assert_allclose(product.value[0], parts.value[0] + parts.value[2], atol=ROUNDING)


@pytest.mark.parametrize("prior", [LAW, BANK], ids=["matrix", "bank"])
def test_forward_and_transposed_products_are_consistent(prior: MatrixPrior) -> None:
    """<s W v>_out = <W^T s v>_in (up to the ratio of widths), also after training with momentum and weight decay."""
    start, shape = implicit(jax.random.key(3), prior=prior), (2, prior.stencil.sources)
    matrix = basis_matrix.untouched((20, 20), (IN, OUT), True, prior.stencil.offsets)
    v, s = jax.random.normal(jax.random.key(4), (*shape, IN)), jax.random.normal(jax.random.key(5), (*shape, OUT))
    update = Update(jnp.asarray(0.3), 0.6, 0.2)
    for t in range(4):
        matrix, forward = apply(matrix, jnp.tanh(v + t), start.noise[0], prior)
        matrix, backward = apply_transposed(matrix, s + forward.value, start.noise[1], prior)
        left = jnp.einsum("vai,wai->vw", s + forward.value, forward.value) / OUT
        right = jnp.einsum("vai,wai->vw", backward.value, jnp.tanh(v + t)) / IN
        np.testing.assert_allclose(left, prior.ratio**0.5 * right, atol=ROUNDING)
        matrix = learn(
            matrix, s + forward.value, backward.coordinates, jnp.tanh(v + t), forward.coordinates, prior, update
        )


def test_training_acts_as_on_an_explicit_matrix() -> None:
    """The learned part is sum s v^T / sqrt(N_in) with momentum and decay; conditioning supplies the initial one."""
    start, update = implicit(jax.random.key(6)), Update(jnp.asarray(0.3), 0.6, 0.2)
    matrix = basis_matrix.untouched((20, 20), (IN, OUT), True)
    learned, velocity, kept, kept_velocity = np.zeros((OUT, IN)), np.zeros((OUT, IN)), 1.0, 0.0
    probes = random_rows(7, 3, IN)
    matrix, initial = apply(matrix, probes, start.noise[0], LAW)
    for t in range(3):
        v, s = random_rows(8 + t, 2, IN), random_rows(20 + t, 2, OUT)
        matrix, forward = apply(matrix, v, start.noise[0], LAW)
        matrix, backward = apply_transposed(matrix, s, start.noise[1], LAW)
        matrix = learn(matrix, s, backward.coordinates, v, forward.coordinates, LAW, update)
        velocity = 0.6 * velocity + np.asarray(s[:, 0].T @ v[:, 0]) / IN**0.5 - 0.2 * learned
        learned = learned + 0.3 * velocity
        kept_velocity = 0.6 * kept_velocity - 0.2 * kept
        kept = kept + 0.3 * kept_velocity
    _, trained = apply(matrix, probes, start.noise[0], LAW)
    expected = kept * initial.value + probes @ learned.T / IN**0.5
    np.testing.assert_allclose(trained.value, expected, atol=ROUNDING)


def test_small_residuals_are_dropped_and_reported() -> None:
    """Shares below the tolerance take no basis vector; too many vectors for the room are reported, and harm nothing."""
    prior = LAW._replace(tolerance=1e-4)
    state, v = implicit(jax.random.key(0), capacity=6), random_rows(9, 2, IN)
    matrix, first = apply(state.matrix, v, state.noise[0], prior)
    near = v[:1] + 3e-3 * random_rows(10, 1, IN)
    matrix, _ = apply(matrix, near, state.noise[0], prior)
    assert int(matrix.forward.rank) == 2 and not bool(matrix.forward.full)
    assert 1e-7 < float(matrix.forward.dropped) < 1e-4
    matrix, _ = apply(matrix, random_rows(11, 4, IN), state.noise[0], prior)
    assert int(matrix.forward.rank) == 6
    matrix, _ = apply(matrix, random_rows(12, 2, IN), state.noise[0], prior)
    assert bool(matrix.forward.full) and int(matrix.forward.rank) == 6
    _, again = apply(matrix, v, state.noise[0], prior)
    np.testing.assert_allclose(again.value, first.value, atol=ROUNDING)


def test_largest_residuals_come_first() -> None:
    """Rows b with b scatter b^T = 1 in the order of what is left; shares below the tolerance are left out, and said."""
    rng = np.random.default_rng(13)
    vectors = rng.standard_normal((4, 9)) * np.array([1.0, 3.0, 1e-4, 0.3])[:, None]
    scatter = vectors @ vectors.T / 9
    rows, number, dropped = orthonormalising(jnp.asarray(scatter), jnp.ones(4), 1e-6)
    assert int(number) == 3 and 0 < float(dropped) < 1e-6
    np.testing.assert_allclose(rows @ scatter @ rows.T, np.diag([1.0, 1.0, 1.0, 0.0]), atol=ROUNDING)
    first, *_ = np.linalg.norm(vectors, axis=1).argsort()[::-1]
    np.testing.assert_allclose(rows[0] * scatter[first, first] ** 0.5, np.eye(4)[first], atol=ROUNDING)
    np.testing.assert_array_equal(rows[3], 0.0)


def test_copied_neurons_carry_the_same_matrix() -> None:
    """Twice the neurons, each with the noise of the first: products are copied as well."""
    start = implicit(jax.random.key(13))
    noise = tuple(jnp.concatenate([a, a], axis=1) for a in start.noise)
    twice = Implicit(basis_matrix.untouched((20, 20), (2 * IN, 2 * OUT), False, 1), (noise[0], noise[1]), LAW)
    v = random_rows(14, 2, IN)
    once, other = start, twice
    for _ in range(2):
        once, a = once.times(v)
        other, b = other.times(jnp.concatenate([v, v], axis=-1))
        np.testing.assert_allclose(b, jnp.concatenate([a, a], axis=-1), atol=ROUNDING)
        once, a = once.transposed_times(jnp.tanh(a))
        other, b = other.transposed_times(jnp.tanh(b))
        np.testing.assert_allclose(b, jnp.concatenate([a, a], axis=-1), atol=ROUNDING)
        v = v + jnp.sin(a)


def test_what_is_left_out_is_reported() -> None:
    """`dropped` is the share of a vector's squared norm outside of the basis; what is seen again brings nothing new."""
    prior = LAW._replace(tolerance=0.3)
    rng = np.random.default_rng(5)
    first = np.linalg.qr(rng.standard_normal((IN, 2)))[0].T
    share = 0.2
    v = np.stack([first[0], (1 - share) ** 0.5 * first[0] + share**0.5 * first[1]])[:, None]
    matrix = basis_matrix.untouched((8, 8), (IN, OUT), False)
    noise = jnp.asarray(rng.standard_normal((8, OUT)))
    once, _ = apply(matrix, jnp.asarray(v), noise, prior)
    assert int(once.forward.rank) == 1
    assert float(once.forward.dropped) == pytest.approx(share, abs=ROUNDING)
    twice, _ = apply(once, jnp.asarray(v), noise, prior)
    assert int(twice.forward.rank) == 1
