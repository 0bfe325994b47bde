"""Random matrices between two populations of sample neurons, by exact Gaussian conditioning.

A hidden matrix W with independent N(0, sigma^2) entries acts on vectors that depend, through training, on W itself.
It is never formed. What is known of it are its products with the vectors seen so far:

    E  (rank, in neuron)   orthonormal basis of the input vectors    Y = W E / sqrt(N_in)     <E_i E_j>_in = delta_ij
    E' (rank', out neuron) orthonormal basis of the output vectors   X = W^T E' / sqrt(N_out)

Given X, the product of W with a new direction E_n orthogonal to E is, in law,

    Y_n = r E' <X E_n>_in + sigma (e - E' <E' e>_out),    e ~ N(0, 1) per neuron,    r = sqrt(N_in / N_out)

The first term is what the transposed products revealed (the response functions A and B of the field theory), the
projection keeps <E' W E_n> consistent with it. The same holds for W^T with the roles exchanged. In law a simulation
with S neurons of equal weight *is* a network of width S, so weighted neurons give the functional of their measure.

A convolution is a bank of n_k independent matrices W_k, one for each offset k, which read the vectors at positions of
their source (`Taps`): at place a the product is sum_k W_k v_(a+k) / sqrt(n_k N_in). The vectors at all positions share
the bases E and E', every offset has its images Y_k and X_k, conditioned as above. One offset and one position are an
ordinary matrix.

Training adds rank-one terms s v^T / sqrt(N_in) whose vectors have been seen, s as an output and v as an input vector,
so on each side they change the action on the basis only: `action` is Y plus what was learned. Momentum and weight
decay are linear and apply to both parts alike.

Trajectories are smooth in time, so a block of new vectors mostly lies in the span of earlier ones: the residual is
resolved into its principal directions, those above a tolerance are kept. Which ones is decided with gradients stopped;
the kept ones are orthonormalised by a Cholesky factor, which is differentiable, as only their span matters. What is
left out has derivatives all the same, and its product a part that is linear in it: what transposed products tell of.

Source: the conditioning technique of Bolthausen (2014) for iterations with Gaussian matrices; Bordelon & Pehlevan 2022
(arXiv 2205.09653) for the field theory it replaces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fwdmft.meanfield.field_equations import Update
from fwdmft.meanfield.positions import POINT, Taps
from fwdmft.meanfield.products import mix
from fwdmft.meanfield.weights import Trained, at_rest, heavy_ball


class Side(NamedTuple):
    """What is known of a matrix in one direction; rows from `rank` on are zero.

    basis: E. image: Y, of the initial matrix. action: of the trained one, with its velocity.
    rank: number of basis vectors. dropped: largest share of a vector's squared norm that was left out.
    full: whether the capacity did not suffice, so that the side is not to be trusted.
    """

    basis: Float[Array, "capacity source"]
    image: Float[Array, "capacity offset target"]
    action: Trained
    rank: Int[Array, ""]
    dropped: Float[Array, ""]
    full: Bool[Array, ""]


class GaussianMatrix(NamedTuple):
    """A matrix seen from both sides. kept: what weight decay left of the initial matrix."""

    forward: Side
    backward: Side
    kept: Trained


class Law(NamedTuple):
    """Law of the initial matrix, and how closely vectors are resolved.

    sigma: standard deviation of the entries. ratio: N_in / N_out. tolerance: share of a vector's squared norm that may
    be left out. taps: what the matrices of a bank read. axis: name of a vmapped axis whose first pass decides for all
    which directions are kept, or None.
    """

    sigma: float
    ratio: float
    tolerance: float | Float[Array, ""]
    taps: Taps = POINT
    axis: str | None = None

    def transposed(self) -> "Law":
        return self._replace(ratio=1 / self.ratio, taps=self.taps.transposed)


class Product(NamedTuple):
    """W v / sqrt(N_in) for a block of vectors at positions, and their coordinates: v = sum_r coordinates_r basis_r."""

    value: Float[Array, "vector place target"]
    coordinates: Float[Array, "capacity vector position"]


def untouched(
    capacities: tuple[int, int], neurons: tuple[int, int], momentum: bool, offsets: int = 1
) -> GaussianMatrix:
    """A bank of which nothing is known. capacities: of forward and backward side. neurons: in, out."""
    return GaussianMatrix(
        _unknown((capacities[0], offsets, neurons[1]), neurons[0], momentum),
        _unknown((capacities[1], offsets, neurons[0]), neurons[1], momentum),
        at_rest(jnp.ones(()), momentum),
    )


def _unknown(shape: tuple[int, int, int], source: int, momentum: bool) -> Side:
    image = jnp.zeros(shape)
    return Side(
        jnp.zeros((shape[0], source)),
        image,
        at_rest(image, momentum),
        jnp.zeros((), jnp.int32),
        jnp.zeros(()),
        jnp.zeros((), bool),
    )


def apply(
    matrix: GaussianMatrix, v: Array, noise: Array, p_in: Array, p_out: Array, law: Law
) -> tuple[GaussianMatrix, Product]:
    """W v / sqrt(N_in) for vectors v (vector, position, in neuron), with noise (capacity offset, out neuron) for new
    directions."""
    side, product = _act(matrix.forward, matrix.backward, matrix.kept, v, noise, p_in, p_out, law)
    return matrix._replace(forward=side), product


def apply_transposed(
    matrix: GaussianMatrix, v: Array, noise: Array, p_in: Array, p_out: Array, law: Law
) -> tuple[GaussianMatrix, Product]:
    """W^T v / sqrt(N_out) for vectors v (vector, place, out neuron), with noise (capacity offset, in neuron)."""
    side, product = _act(matrix.backward, matrix.forward, matrix.kept, v, noise, p_out, p_in, law.transposed())
    return matrix._replace(backward=side), product


def learn(
    matrix: GaussianMatrix,
    signal: Float[Array, "vector place out"],
    signal_coordinates: Float[Array, "capacity vector place"],
    v: Float[Array, "vector position in"],
    v_coordinates: Float[Array, "capacity vector position"],
    law: Law,
    update: Update,
) -> GaussianMatrix:
    """One training step: W_k learns sum_(mu, a) s_mu,a v_mu,a+k^T / sqrt(n_k N_in), of vectors that have been seen."""
    forward, backward = matrix.forward, matrix.backward
    ahead = _learned(v_coordinates, signal, law.taps)
    back = _learned(signal_coordinates, v, law.taps.transposed) / law.ratio**0.5
    return GaussianMatrix(
        forward._replace(action=heavy_ball(forward.action, ahead, update)),
        backward._replace(action=heavy_ball(backward.action, back, update)),
        heavy_ball(matrix.kept, jnp.zeros(()), update),
    )


def _learned(coordinates: Array, rows: Array, taps: Taps) -> Float[Array, "capacity offset neuron"]:
    """What the images of basis vectors gain."""
    gain = mix(_read(coordinates, taps), rows.reshape(-1, rows.shape[-1]))
    return gain.reshape(len(coordinates), taps.offsets, -1)


def _products(action: Array, coordinates: Array, taps: Taps) -> Float[Array, "vector place target"]:
    rows = _read(coordinates, taps).T @ action.reshape(-1, action.shape[-1])
    return rows.reshape(coordinates.shape[1], taps.places, -1)


def _read(coordinates: Float[Array, "capacity vector position"], taps: Taps) -> Float[Array, "row column"]:
    """The share of basis vector and offset (rows) in what arrives at vector and place (columns)."""
    read = jnp.swapaxes(taps.read(coordinates), 1, 2) / taps.offsets**0.5
    return read.reshape(len(coordinates) * taps.offsets, -1)


def _act(
    side: Side, other: Side, kept: Trained, v: Array, noise: Array, p: Array, p_target: Array, law: Law
) -> tuple[Side, Product]:
    """Extend the side so that it resolves v (vector, position, source), and act on it."""
    shape, v = v.shape, v.reshape(-1, v.shape[-1])
    noise = noise.reshape(-1, law.taps.offsets, noise.shape[-1])
    weighted = p * v
    known = side.basis @ weighted.T
    squares = jnp.einsum("vn,vn->v", weighted, v)
    unseen = _decisive(squares - jnp.sum(known**2, axis=0), law.axis)
    norms = _decisive(jnp.where(squares > 0, squares, 1.0), law.axis)
    new = unseen / norms > law.tolerance
    room = side.rank + len(v) <= len(side.basis)
    fresh = jax.lax.cond(
        jnp.any(new) & room,
        lambda: _resolve(side, other, v, known, norms, noise, p, p_target, law),
        lambda: _nothing_new(side, v, known, jnp.max(unseen / norms)),
    )
    action = _append(side.action.value, kept.value * fresh.image, side.rank)
    velocity = None
    if side.action.velocity is not None:
        velocity = _append(side.action.velocity, kept.velocity * fresh.image, side.rank)
    extended = Side(
        _append(side.basis, fresh.basis, side.rank),
        _append(side.image, fresh.image, side.rank),
        Trained(action, velocity),
        side.rank + fresh.number,
        jnp.maximum(side.dropped, jnp.where(room, fresh.dropped, 0.0)),
        side.full | (jnp.any(new) & ~room),
    )
    coordinates = _append(fresh.known, fresh.coordinates, side.rank)
    dropped = (v - coordinates.T @ extended.basis).reshape(shape)
    coordinates = coordinates.reshape(-1, *shape[:2])
    value = _products(action, coordinates, law.taps)
    value = value + kept.value * _change(_revealed(other, dropped, p, law), law.axis)
    return extended, Product(value, coordinates)


def _revealed(
    other: Side, dropped: Float[Array, "vector position source"], p: Array, law: Law
) -> Float[Array, "vector place target"]:
    """What the transposed products tell of the initial matrix's product with what was left out of vectors."""
    shape = dropped.shape
    told = other.image.reshape(-1, shape[-1]) @ (p * dropped).reshape(-1, shape[-1]).T
    told = told.reshape(len(other.basis), law.taps.offsets, *shape[:2])
    arriving = law.taps.gather(told) * (law.ratio / law.taps.offsets) ** 0.5
    return mix(arriving.reshape(len(other.basis), -1).T, other.basis).reshape(shape[0], law.taps.places, -1)


def _change(value: Array, axis: str | None) -> Array:
    """What the value changes by where derivatives are taken: zero with its gradients, or less that of the first pass.

    A residual may be left out because it is small, but its derivatives are as large as any.
    """
    return _zero_with_gradients(value) if axis is None else value - of_first(value, axis)


@jax.custom_jvp
def _zero_with_gradients(value: Array) -> Array:
    return jnp.zeros_like(value)


@_zero_with_gradients.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _zero_with_gradients(*primals), tangents[0]


class _Fresh(NamedTuple):
    """New basis vectors with their images, zero rows last, and the coordinates of a block of vectors."""

    basis: Float[Array, "vector source"]
    image: Float[Array, "vector offset target"]
    known: Float[Array, "capacity vector"]
    coordinates: Float[Array, "vector vector"]
    number: Int[Array, ""]
    dropped: Float[Array, ""]


def _nothing_new(side: Side, v: Array, known: Array, dropped: Array) -> _Fresh:
    count = len(v)
    return _Fresh(
        jnp.zeros_like(v),
        jnp.zeros((count, *side.image.shape[1:])),
        known,
        jnp.zeros((count, count)),
        jnp.zeros((), side.rank.dtype),
        dropped,
    )


def _resolve(
    side: Side,
    other: Side,
    v: Array,
    known: Array,
    norms: Array,
    noise: Array,
    p: Array,
    p_target: Array,
    law: Law,
) -> _Fresh:
    residual = v - known.T @ side.basis
    # Once more, as rounding leaves the residual not quite orthogonal.
    correction = side.basis @ (p * residual).T
    residual = residual - correction.T @ side.basis
    mixing, strengths = _principal(residual, norms, p, law.axis)
    keep = strengths > law.tolerance
    basis = _orthonormal(mix(mixing.T, residual), keep, p)
    e = jax.lax.dynamic_slice_in_dim(noise, side.rank, len(v)) * keep[:, None, None]
    # Of every other basis vector (row), for every new direction and offset (column).
    told = jnp.swapaxes(other.image @ (p * basis).T, 1, 2).reshape(len(other.basis), -1)
    imagined = other.basis @ (p_target * e).reshape(-1, len(p_target)).T
    revealed = law.ratio**0.5 * told - law.sigma * imagined
    return _Fresh(
        basis,
        law.sigma * e + (revealed.T @ other.basis).reshape(e.shape),
        known + correction,
        basis @ (p * residual).T,
        jnp.sum(keep).astype(side.rank.dtype),
        jnp.max(jnp.where(keep, 0.0, strengths)),
    )


def _principal(
    residual: Array, norms: Array, p: Array, axis: str | None
) -> tuple[Float[Array, "vector direction"], Array]:
    """Combinations of the residuals along which their joint scatter, relative to the vectors' norms, is largest.

    Directions and their signs decide which noise a basis vector gets, so they must not hang on rounding, which differs
    between compiled programs: vectors of equal norm would have degenerate scatter, hence slightly unequal factors.
    """
    generic = 1 - 0.2 * jnp.modf(0.618034 * jnp.arange(1, len(norms) + 1))[0]
    scales = generic / jnp.sqrt(norms)
    scaled = scales[:, None] * residual
    scatter = _decisive((p * scaled) @ scaled.T, axis)
    if len(scatter) == 1:
        return scales[:, None], scatter[0]
    strengths, vectors = jnp.linalg.eigh(scatter)
    vectors = vectors * jnp.where(generic @ vectors < 0, -1.0, 1.0)
    return scales[:, None] * vectors[:, ::-1], strengths[::-1]


def _decisive(value: Array, axis: str | None) -> Array:
    """What a choice is based on: no gradient passes, and passes that travel together decide alike."""
    value = jax.lax.stop_gradient(value)
    return value if axis is None else of_first(value, axis)


def of_first(value: Array, axis: str) -> Array:
    """The value that the first of the passes along a vmapped axis has."""
    return jax.lax.psum(jnp.where(jax.lax.axis_index(axis) == 0, value, jnp.zeros_like(value)), axis)


def _orthonormal(rows: Array, keep: Array, p: Array) -> Array:
    """The kept rows (they come first) orthonormalised, the others zero."""
    kept = rows * keep[:, None]
    scatter = (p * kept) @ kept.T + jnp.diag(jnp.where(keep, 0.0, 1.0))
    return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(scatter), kept, lower=True)


def _append(buffer: Float[Array, "capacity *rest"], rows: Float[Array, "new *rest"], start: Array) -> Array:
    """Rows added from `start` on, where the buffer is zero."""
    there = jax.lax.dynamic_slice_in_dim(buffer, start, len(rows))
    return jax.lax.dynamic_update_slice_in_dim(buffer, there + rows, start, axis=0)
