"""Kernels that compare times, and how strongly the kernels of different layers fluctuate together.

Two-time kernels are Phi^l(t, t') = <v(t) v(t')> and G^l(t, t') = <g(t) g(t')>, over positions as in `kernels`. The
strength of a layer's kernel is its mean diagonal, over points (and outputs): one number per kernel, layer and time.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.layer_sites import LayerSites, summed_gram
from fwdmft.observables import OBSERVABLES

Layers = tuple[LayerSites, ...]

TWO_TIME_DIMS = {name: OBSERVABLES[name].dims for name in ("feature_kernel_two_time", "gradient_kernel_two_time")}


def two_time_kernels(layers: Layers) -> dict[str, Float[Array, "..."]]:
    """Both kernels, from the sites of every layer at all times."""
    return {
        "feature_kernel_two_time": jnp.stack([summed_gram(layer.v) / layer.v.shape[-2] for layer in layers]),
        "gradient_kernel_two_time": jnp.stack([summed_gram(layer.g) for layer in layers]),
    }


def strengths(kernels: dict[str, Float[Array, "..."]]) -> Float[Array, "... kernel layer"]:
    """Mean diagonals of feature and gradient kernels (..., layer, point, [output,] the same)."""
    feature, gradient = kernels["feature_kernel"], kernels["gradient_kernel"]
    return jnp.stack(
        [
            jnp.einsum("...mm->...", feature) / feature.shape[-1],
            jnp.einsum("...mcmc->...", gradient) / (gradient.shape[-1] * gradient.shape[-2]),
        ],
        axis=-2,
    )
