"""Deep networks of finite width, as an Equinox module."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.activations import Activation, activation
from fwdmft.networks.model import Network
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_deep.schema import Deep


class DeepNetwork(Network):
    """h^1 = W^0 x / sqrt(D) + sigma_b b^1, h^(l+1) = [h^l +] beta (W^l phi(h^l) / sqrt(N_l) + sigma_b b^(l+1)),
    f = w phi(h^L) / (gamma0 N_L).

    weights: W^0 .. W^(L-1) and w. biases: one per hidden layer, or none at all. is_trained: of each of the weights.
    """

    weights: tuple[Float[Array, "out in"], ...]
    biases: tuple[Float[Array, " neuron"], ...]
    gamma0: float = eqx.field(static=True)
    sigma_b: float = eqx.field(static=True)
    branch: float | None = eqx.field(static=True)
    is_trained: tuple[bool, ...] = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def __call__(self, x: Float[Array, " feature"]) -> Float[Array, " output"]:
        return self.trace(x, self.shifts())[0]

    def shifts(self) -> tuple[Array, ...]:
        return tuple(jnp.zeros_like(W[:, 0]) for W in self.weights[:-1])

    def trained(self) -> "DeepNetwork":
        mask = jax.tree.map(eqx.is_inexact_array, self)
        biases = self.is_trained[:-1] if self.biases else ()
        return eqx.tree_at(lambda network: (network.weights, network.biases), mask, (self.is_trained, biases))

    def trace(self, x: Float[Array, " feature"], shifts: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        features: list[Array] = []
        below, h = x, shifts[0]
        for layer, shift in enumerate(shifts):
            arriving = self.weights[layer] @ below / len(below) ** 0.5
            if self.biases:
                arriving = arriving + self.sigma_b * self.biases[layer]
            joins = layer > 0 and self.branch is not None
            h = (h + self.branch * arriving if joins else arriving) + shift
            below = self.phi(h)
            features.append(below)
        return self.weights[-1] @ below / (self.gamma0 * len(below)), tuple(features)


def model(
    spec: Deep, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int, width: int, key: Array
) -> DeepNetwork:
    """A network with independent N(0, sigma_w^2) weights and N(0, 1) biases (scaled by sigma_b where they act).

    Layer l has n_l `width` neurons, rounded to the next integer.
    """
    sizes = [x.shape[1], *(max(1, round(ratio * width)) for ratio in spec.widths()), outputs]
    sigmas = parameterization.weight_scales(spec.depth)
    key_weights, key_biases = jax.random.split(key)
    biases = [jax.random.normal(k, (n,)) for k, n in zip(_keys(key_biases, spec.depth), sizes[1:-1], strict=True)]
    return DeepNetwork(
        weights=tuple(
            sigma * jax.random.normal(k, shape)
            for sigma, k, shape in zip(
                sigmas, _keys(key_weights, spec.depth + 1), zip(sizes[1:], sizes[:-1], strict=True), strict=True
            )
        ),
        biases=tuple(biases) if spec.bias > 0 else (),
        gamma0=parameterization.richness(width),
        sigma_b=spec.bias,
        branch=spec.branch_scale,
        is_trained=spec.trained(),
        phi=activation(spec.activation, spec.scale, spec.gain),
    )


def _keys(key: Array, count: int) -> Sequence[Array]:
    return list(jax.random.split(key, count))
