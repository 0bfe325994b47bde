"""Deep networks of finite width, as an Equinox module."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.plugin import Activation, Network, OfLayers, ParameterizationSpec, activation, whole_neurons
from fwdmft_deep.schema import Deep

SMALL = 1e-6
"""What is added to mean squares before dividing by their root."""


class DeepNetwork(Network):
    """h^1 = W^0 x / sqrt(D) + sigma_b b^1, h^(l+1) = [h^l +] beta (W^l v^l / sqrt(N_l) + sigma_b b^(l+1)),
    f = w v^L / (gamma0 N_L), v = phi(normalised h), with gates v^(l+1) = phi(normalised h^(l+1)) K^l v^l / sqrt(N_l).

    weights: W^0 .. W^(L-1) and w. gates: K^0 .. K^(L-1), or none at all. biases: one per hidden layer, or none at all.
    is_trained: of each of the weights.
    """

    weights: tuple[Float[Array, "_out _in"], ...]
    gates: tuple[Float[Array, "_out _in"], ...]
    biases: tuple[Float[Array, " _neuron"], ...]
    gamma0: float = eqx.field(static=True)
    sigma_b: float = eqx.field(static=True)
    branch: float | None = eqx.field(static=True)
    normalization: str = eqx.field(static=True)
    is_trained: tuple[bool, ...] = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        return tuple(jnp.zeros_like(W[:, 0]) for W in self.weights[:-1])

    def trained(self) -> "DeepNetwork":
        mask = jax.tree.map(eqx.is_inexact_array, self)
        gates, biases = (self.is_trained[:-1] if each else () for each in (self.gates, self.biases))
        parts = self.is_trained, gates, biases
        return eqx.tree_at(lambda network: (network.weights, network.gates, network.biases), mask, parts)

    def trace(self, x: Float[Array, " feature"], shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        features: list[Array] = []
        below, h = x, shifts[0]
        for layer, shift in enumerate(shifts):
            arriving = self.weights[layer] @ below / len(below) ** 0.5
            if self.biases:
                arriving = arriving + self.sigma_b * self.biases[layer]
            joins = layer > 0 and self.branch is not None
            h = (h + self.branch * arriving if joins else arriving) + shift
            gate = self.gates[layer] @ below / len(below) ** 0.5 if self.gates else 1.0
            below = self.phi(normalized(h, self.normalization)) * gate
            features.append(below)
        return self.weights[-1] @ below / (self.gamma0 * len(below)), tuple(features)


def normalized(h: Float[Array, " neuron"], normalization: str) -> Float[Array, " neuron"]:
    """h as it is (none), without its mean and divided by its standard deviation (layer), or by its size (rms)."""
    if normalization == "none":
        return h
    centred = h - jnp.mean(h) if normalization == "layer" else h
    return centred / jnp.sqrt(jnp.mean(centred**2) + SMALL)


def model(
    spec: Deep, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int, width: int, key: Key[Array, ""]
) -> DeepNetwork:
    """A network with independent N(0, sigma_w^2) weights and N(0, 1) biases (scaled by sigma_b where they act).

    Raises InputError where a layer has no whole number of neurons.
    """
    sizes = [x.shape[1], *(whole_neurons(ratio, width) for ratio in spec.widths()), outputs]
    sigmas = parameterization.weight_scales(spec.depth)
    key_weights, key_biases = jax.random.split(key)
    biases = [
        jax.random.normal(k, (n,)) for k, n in zip(jax.random.split(key_biases, spec.depth), sizes[1:-1], strict=True)
    ]
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    return DeepNetwork(
        weights=_matrices(key_weights, sigmas, shapes),
        # The other keys, and so the other weights, are those of a network without gates.
        gates=_matrices(jax.random.fold_in(key, 2), sigmas[:-1], shapes[:-1]) if spec.gate else (),
        biases=tuple(biases) if spec.bias > 0 else (),
        gamma0=parameterization.richness(width),
        sigma_b=spec.bias,
        branch=spec.branch_scale,
        normalization=spec.normalization,
        is_trained=spec.trained(),
        phi=activation(spec.activation, spec.scale, spec.gain),
    )


def _matrices(key: Array, sigmas: Sequence[float], shapes: Sequence[tuple[int, int]]) -> tuple[Array, ...]:
    """Independent N(0, sigma^2) entries, a key for each matrix."""
    drawn = zip(sigmas, jax.random.split(key, len(sigmas)), shapes, strict=True)
    return tuple(sigma * jax.random.normal(k, shape) for sigma, k, shape in drawn)
