"""Kernels that compare times, and how strongly the kernels of different layers fluctuate together.

Two-time kernels are Phi^l(t, t') = <v(t) v(t')> and G^l(t, t') = <g(t) g(t')>, over positions as in `kernels`. The
strength of a layer's kernel is its mean diagonal, over points (and outputs): one number per kernel, layer and time.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.kernels import LayerSites, feature_variance, pair_variance, summed_gram
from fwdmft.meanfield.neurons import Population

Layers = tuple[LayerSites, ...]

TWO_TIME_DIMS = {
    "feature_kernel_two_time": ("layer", "time", "point", "time_prime", "point_prime"),
    "gradient_kernel_two_time": ("layer", "time", "point", "output", "time_prime", "point_prime", "output_prime"),
}


def two_time_kernels(layers: Layers, weights: list[Float[Array, " neuron"]]) -> dict[str, Array]:
    """Both kernels, from the sites of every layer at all times and the weights of its neurons."""
    return {
        "feature_kernel_two_time": jnp.stack(
            [summed_gram(layer.v, p) / layer.v.shape[-2] for layer, p in zip(layers, weights, strict=True)]
        ),
        "gradient_kernel_two_time": jnp.stack(
            [summed_gram(layer.g, p) for layer, p in zip(layers, weights, strict=True)]
        ),
    }


def two_time_variance(layers: Layers, weights: list[Array], widths: list[float]) -> dict[str, Array]:
    """Variance over neurons of their direct influence on two-time kernels, see `FieldEquations.direct_variance`."""
    found = list(zip(layers, weights, widths, strict=True))
    return {
        "feature_kernel_two_time": jnp.stack([feature_variance(layer, p) / n for layer, p, n in found]),
        "gradient_kernel_two_time": jnp.stack([pair_variance(layer.g, p) / n for layer, p, n in found]),
    }


def strengths(kernels: dict[str, Array]) -> Float[Array, "... kernel layer"]:
    """Mean diagonals of feature and gradient kernels (..., layer, point, [output,] the same)."""
    feature, gradient = kernels["feature_kernel"], kernels["gradient_kernel"]
    return jnp.stack(
        [
            jnp.einsum("...mm->...", feature) / feature.shape[-1],
            jnp.einsum("...mcmc->...", gradient) / (gradient.shape[-1] * gradient.shape[-2]),
        ],
        axis=-2,
    )


def strength_covariance(
    layers: Layers, names: tuple[str, ...], populations: tuple[Population, ...], p: dict[str, Array]
) -> Float[Array, "kernel layer kernel layer"]:
    """Covariance over neurons of their direct influence on the strengths; names: population of each layer."""
    squares = [
        jnp.stack([jnp.mean(layer.v**2, axis=(0, 1)), jnp.mean(jnp.sum(layer.g**2, axis=2), axis=(0, 1))])
        for layer in layers
    ]
    centred = [s - (s @ p[name])[:, None] for s, name in zip(squares, names, strict=True)]
    width = {population.name: population.width for population in populations}

    def between(i: int, j: int) -> Float[Array, "kernel kernel"]:
        if names[i] != names[j]:
            return jnp.zeros((2, 2))
        return (p[names[i]] * centred[i]) @ centred[j].T / width[names[i]]

    blocks = [[between(i, j) for j in range(len(layers))] for i in range(len(layers))]
    return jnp.transpose(jnp.asarray(blocks), (2, 0, 3, 1))
