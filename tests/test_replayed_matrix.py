"""Mean-field neurons under the record of a large simulation are the neurons of that simulation."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.engine import gaussian_matrix
from fwdmft.engine.basis_matrix import BasisMatrix, MatrixPrior
from fwdmft.engine.replayed_matrix import MatrixRecord, recorded, replayed
from fwdmft.engine.stencil import POINT, Stencil
from fwdmft.engine.update import Update
from fwdmft.testing.agreement import ROUNDING

STEPS, VECTORS = 6, 2
CAPACITY = 30
STENCILS = [POINT, Stencil(((0, 1), (1, -1)), 2)]


class Neurons(NamedTuple):
    """What neurons start from: vectors, what comes back of them, and numbers for new directions."""

    start: np.ndarray
    readout: np.ndarray
    ahead: np.ndarray
    back: np.ndarray


def neurons(stencil: Stencil, count: int) -> Neurons:
    rng = np.random.default_rng(5)
    start, readout = rng.standard_normal((2, VECTORS, stencil.sources, count))
    return Neurons(start, readout, *rng.standard_normal((2, CAPACITY * stencil.offsets, count)))


def law_of(stencil: Stencil) -> MatrixPrior:
    return MatrixPrior(1.3, 1.0, 1e-6, stencil)


@partial(jax.jit, static_argnames="stencil")
def train(matrix: Any, own: Neurons, stencil: Stencil) -> tuple[Any, jax.Array]:
    """A toy training with momentum and weight decay, of vectors that depend on what came back; all its fields."""
    prior = law_of(stencil)

    def step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], jax.Array]:
        matrix, v = carry
        matrix, h = matrix.apply(v, own.ahead, prior)
        s = jnp.tanh(h.value) * own.readout
        matrix, z = matrix.apply_transposed(s, own.back, prior)
        update = Update(jnp.asarray(0.3), 0.5, 0.1)
        matrix = matrix.learn(s, z.coordinates, v, h.coordinates, prior, update)
        return (matrix, jnp.tanh(own.start + 0.3 * z.value)), jnp.stack([h.value, z.value])

    (matrix, _), fields = jax.lax.scan(step, (matrix, jnp.asarray(own.start)), None, STEPS)
    return matrix, fields


def recording(own: Neurons, stencil: Stencil) -> tuple[BasisMatrix, jax.Array, MatrixRecord]:
    size, vectors = own.start.shape[-1], VECTORS * stencil.sources
    matrix = gaussian_matrix.untouched(
        (CAPACITY, CAPACITY), (size, size), True, stencil.offsets, (STEPS, vectors, vectors)
    )
    matrix, fields = train(matrix, own, stencil)
    ahead, back = matrix.forward, matrix.backward
    assert not ahead.full and not back.full
    assert ahead.record is not None and back.record is not None
    return matrix, fields, recorded(ahead.record, back.record, 1)


def replaying(record: MatrixRecord, own: Neurons, stencil: Stencil) -> jax.Array:
    size = own.start.shape[-1]
    return train(replayed(record, (size, size), True, stencil.offsets, float), own, stencil)[1]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("stencil", STENCILS)
def test_neurons_are_those_of_the_recording(stencil: Stencil) -> None:
    """Up to the projection of their numbers, which keeps a finite simulation consistent."""
    errors = []
    for count in (1 << 9, 1 << 13):
        own = neurons(stencil, count)
        _, fields, record = recording(own, stencil)
        errors.append(float(jnp.sqrt(jnp.mean((fields - replaying(record, own, stencil)) ** 2) / jnp.mean(fields**2))))
    assert errors[1] < 0.1
    assert 2.5 < errors[0] / errors[1] < 6.5  # S^-1/2 would be 4


@pytest.mark.parametrize("stencil", STENCILS)
def test_with_numbers_that_need_no_projection_they_are_the_same(stencil: Stencil) -> None:
    own = neurons(stencil, 1 << 11)
    for _ in range(2 * STEPS):
        # Numbers become orthogonal to earlier directions of the other side, which depend on earlier numbers in turn.
        matrix, fields, record = recording(own, stencil)
        first = np.asarray(record.earlier)
        ahead = _without(own.ahead, np.asarray(matrix.backward.basis), first.T, stencil.offsets)
        own = own._replace(
            ahead=ahead, back=_without(own.back, np.asarray(matrix.forward.basis), ~first, stencil.offsets)
        )
    _, fields, record = recording(own, stencil)
    np.testing.assert_allclose(replaying(record, own, stencil), fields, atol=ROUNDING)


def _without(numbers: np.ndarray, basis: np.ndarray, earlier: np.ndarray, offsets: int) -> np.ndarray:
    """Numbers less their shares in those basis vectors that are earlier (direction, vector)."""
    directions, vectors = earlier.shape
    rows, basis = numbers[: directions * offsets], basis[:vectors]
    shares = rows @ basis.T / basis.shape[1] * np.repeat(earlier, offsets, axis=0)
    return np.concatenate([rows - shares @ basis, numbers[len(rows) :]])


def test_neurons_need_no_company() -> None:
    own = neurons(STENCILS[1], 512)
    record = recording(own, STENCILS[1])[2]
    few = Neurons(*(a[..., 100:110] for a in own))
    np.testing.assert_allclose(
        replaying(record, own, STENCILS[1])[..., 100:110], replaying(record, few, STENCILS[1]), atol=ROUNDING
    )


def test_the_record_has_capacity_for_its_directions_only() -> None:
    record = recording(neurons(POINT, 512), POINT)[2]
    back, ahead = record.earlier.shape
    assert ahead <= record.capacities[0] < ahead + VECTORS < CAPACITY
    assert back <= record.capacities[1] < back + VECTORS < CAPACITY
    # In every step the forward side comes first.
    assert not record.earlier[:, :VECTORS].any() and record.earlier[:VECTORS, VECTORS:].all()
