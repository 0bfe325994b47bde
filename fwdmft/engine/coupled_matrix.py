"""Random matrices of finite networks that share most of their randomness with those of another width.

Networks of widths n and r n have matrices of different shapes, so entries cannot be shared. Products can: what a neuron
receives through the matrix at the first forward and backward pass is a Gaussian combination of few directions, and the
numbers in it may belong to the neuron. Two networks whose neurons have these numbers in common differ by what their
averages differ by, and by directions that come in later.

The law stays that of independent N(0, sigma^2) entries. Let u be the part of a vector outside of all directions met so
far on its side, of norm 1, and F an orthonormal basis of the directions met on the other side. Given all products
so far, (1 - F F^T) W u is Gaussian and independent of them. It is replaced by (1 - F F^T) sigma xi with the numbers xi
of this direction:

    W <- W + (1 - F F^T) (sigma xi - W u) u^T

which changes neither F^T W nor the products with earlier directions. The transpose is treated alike.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fwdmft.engine.explicit_matrix import ExplicitMatrix
from fwdmft.engine.field_equations import FieldEquations, Noise
from fwdmft.engine.matrix_law import MatrixPrior, Product
from fwdmft.engine.update import at_rest


class CoupledMatrix(eqx.Module):
    """A bank W_k (offset, out neuron, in neuron) before training, and the directions met on either side, with norm 1.

    A direction that depends on earlier ones is zero. complete: whether all vectors so far lie in these directions. If
    not, products are known that the directions do not tell of, and nothing more may be changed.
    """

    weights: Float[Array, "offset out in"]
    forward: Float[Array, "direction in"]
    backward: Float[Array, "other_direction out"]
    complete: bool = eqx.field(static=True, default=True)

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"], prior: MatrixPrior
    ) -> tuple["CoupledMatrix", Product]:
        """W v / sqrt(N_in) for vectors v, of a matrix that follows the numbers of their directions.

        noise: N(0, 1) numbers, for every direction and offset; vectors beyond these directions are not followed.
        """
        after = self
        if self.complete:
            new, numbers, complete = _new(self.forward, v, noise, prior)
            change = jnp.swapaxes(numbers, 1, 2) - self.weights @ new.T
            change = change - self.backward.T @ (self.backward @ change)
            after = CoupledMatrix(
                self.weights + change @ new, jnp.concatenate([self.forward, new]), self.backward, complete
            )
        return after, after.explicit(False).apply(v, None, prior)[1]

    def apply_transposed(
        self, v: Float[Array, "vector place out"], noise: Float[Array, "row in"], prior: MatrixPrior
    ) -> tuple["CoupledMatrix", Product]:
        """W^T v / sqrt(N_out) for vectors v, likewise."""
        after = self
        if self.complete:
            new, numbers, complete = _new(self.backward, v, noise, prior)
            change = numbers - new @ self.weights
            change = change - (change @ self.forward.T) @ self.forward
            after = CoupledMatrix(
                self.weights + new.T @ change, self.forward, jnp.concatenate([self.backward, new]), complete
            )
        return after, after.explicit(False).apply_transposed(v, None, prior)[1]

    def explicit(self, momentum: bool) -> ExplicitMatrix:
        """The matrix, to be trained."""
        return ExplicitMatrix(at_rest(self.weights, momentum))


def _new(
    met: Float[Array, "direction source"],
    v: Float[Array, "vector position source"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> tuple[Float[Array, "more source"], Float[Array, "offset more target"], bool]:
    """Directions of v that are followed beside those met, the products with them, and whether all are followed."""
    offsets, start = prior.stencil.offsets, len(met)
    vectors, room = v.reshape(-1, v.shape[-1]), len(noise) // offsets - start
    new = orthonormal(vectors[:room], met)
    numbers = noise[offsets * start : offsets * (start + len(new))].reshape(len(new), offsets, noise.shape[-1])
    return new, prior.sigma * jnp.swapaxes(numbers, 0, 1), len(vectors) <= room


def orthonormal(
    vectors: Float[Array, "direction source"], before: Float[Array, "earlier source"]
) -> Float[Array, "direction source"]:
    """Gram-Schmidt in the order of the vectors, behind earlier ones that are orthonormal already.

    A direction of which next to nothing is left becomes zero. This is no call of a QR routine, as several of those wait
    for each other forever in some versions of XLA.
    """

    def one(
        units: Float[Array, "all source"], each: tuple[Int[Array, ""], Float[Array, " source"]]
    ) -> tuple[Float[Array, "all source"], None]:
        number, vector = each
        size = jnp.sqrt(vector @ vector)
        left = vector - (units @ vector) @ units
        left = left - (units @ left) @ units
        norm = jnp.sqrt(left @ left)
        some = norm > 1e-3 * size
        return units.at[number].set(jnp.where(some, left / jnp.where(some, norm, 1.0), 0.0)), None

    if not len(vectors):
        return vectors
    start, end = len(before), len(before) + len(vectors)
    units, _ = jax.lax.scan(one, jnp.concatenate([before, jnp.zeros_like(vectors)]), (jnp.arange(start, end), vectors))
    return units[start:]


def coupled(
    equations: FieldEquations, noise: Noise, matrices: Sequence[ExplicitMatrix], momentum: bool
) -> tuple[ExplicitMatrix, ...]:
    """These matrices, made to follow the noise of the supplies in the first forward and backward pass."""
    start = tuple(_untouched(each.weights.value) for each in matrices)
    state, _ = equations.forward(equations.initial(noise, start, momentum), noise)
    return tuple(each.explicit(momentum) for each in state.matrices)


def _untouched(weights: Float[Array, "offset out in"]) -> CoupledMatrix:
    _, target, source = weights.shape
    return CoupledMatrix(weights, jnp.zeros((0, source), weights.dtype), jnp.zeros((0, target), weights.dtype))
