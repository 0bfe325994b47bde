"""Random matrices of finite networks, entry by entry."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.field_equations import Noise, RandomMatrix
from fwdmft.engine.matrix_law import MatrixPrior, Product
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball


class ExplicitMatrix(NamedTuple):
    """A bank of matrices W_k (offset, out neuron, in neuron). It needs no noise and no coordinates."""

    weights: Trained

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"] | None, prior: MatrixPrior
    ) -> tuple["ExplicitMatrix", Product]:
        """W v / sqrt(N_in) for vectors v (vector, position, in neuron)."""
        return self, _product(self.weights.value, v, prior)

    def apply_transposed(
        self, v: Float[Array, "vector place out"], noise: Float[Array, "row in"] | None, prior: MatrixPrior
    ) -> tuple["ExplicitMatrix", Product]:
        """W^T v / sqrt(N_out) for vectors v (vector, place, out neuron)."""
        return self, _product(jnp.swapaxes(self.weights.value, 1, 2), v, prior.transposed())

    def learn(
        self,
        signal: Float[Array, "vector place out"],
        signal_coordinates: Float[Array, "none vector place"],
        v: Float[Array, "vector position in"],
        v_coordinates: Float[Array, "none vector position"],
        prior: MatrixPrior,
        update: Update,
    ) -> "ExplicitMatrix":
        """One training step: W_k learns sum_(mu, a) s_mu,a v_mu,a+k^T / sqrt(n_k N_in)."""
        gain = prior.stencil.outer_products(signal, v) / (prior.stencil.offsets * v.shape[-1]) ** 0.5
        return ExplicitMatrix(heavy_ball(self.weights, gain, update))


def _product(
    weights: Float[Array, "offset out in"], v: Float[Array, "vector position in"], prior: MatrixPrior
) -> Product:
    value = prior.stencil.products(weights, v) / (prior.stencil.offsets * v.shape[-1]) ** 0.5
    return Product(value, jnp.zeros((0, *v.shape[:2]), v.dtype))


def shape(prior: MatrixPrior, neurons: tuple[int, int]) -> tuple[int, int, int]:
    """Shape (offset, out neuron, in neuron) of a bank. neurons: in, out."""
    return prior.stencil.offsets, neurons[1], neurons[0]


def of(numbers: Float[Array, "offset out in"], prior: MatrixPrior, momentum: bool) -> ExplicitMatrix:
    """A bank with independent entries, from numbers N(0, 1)."""
    return ExplicitMatrix(at_rest(prior.sigma * numbers, momentum))


def empty(matrices: Sequence[RandomMatrix], noise: Noise) -> tuple[ExplicitMatrix, ...]:
    """Matrices of zeros between the populations of this noise: of all random matrices they are traced the fastest."""
    return tuple(of(jnp.zeros(shape(m.prior, m.neurons(noise))), m.prior, False) for m in matrices)
