"""Empirical kernels of one finite network, by automatic differentiation.

Phi^l = phi(h^l).phi(h^l) / N,   G^l = g^l.g^l / N with g^l = gamma0 N d f / d h^l,   both summed over the positions of
a convolutional layer, and Phi^l divided by their number,
K = gamma0^2 N (d f / d theta).(d f / d theta), so that d f / d t = eta K Delta.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.networks.model import Network, OfLayers, Quantities


def empirical_kernels(model: Network, x: Float[Array, "point ..."], gamma0: float, width: int) -> Quantities:
    """feature_kernel (layer, point, point'), gradient_kernel (layer, point, output, point', output') and
    tangent_kernel (point, output, point', output'); the last alone of a network whose layers are not known."""
    tangent = {"tangent_kernel": gamma0**2 * width * _tangent_gram(model, x)}
    if not model.shifts():
        return tangent
    features, slopes = jax.vmap(lambda x: _features_and_slopes(model, x))(x)
    return tangent | {
        "feature_kernel": jnp.stack([_gram(layer) / layer[0].size for layer in features]),
        "gradient_kernel": jnp.stack([_gram(g, 2) * (gamma0 * width) ** 2 / g.shape[-1] for g in slopes]),
    }


def _features_and_slopes(
    model: Network, x: Float[Array, "..."]
) -> tuple[OfLayers, tuple[Float[Array, "output ... _neuron"], ...]]:
    def swapped(shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        return model.trace(x, shifts)

    slopes, features = jax.jacrev(swapped, has_aux=True)(model.shifts())
    return features, slopes


def _tangent_gram(model: Network, x: Float[Array, "point ..."]) -> Float[Array, "point output point output"]:
    parameters, static = eqx.partition(model, model.trained())

    def f(parameters: Network, x: Float[Array, "..."]) -> Float[Array, " output"]:
        return eqx.combine(parameters, static)(x)

    jacobian = jax.vmap(jax.jacrev(f), in_axes=(None, 0))(parameters, x)
    return sum((_gram(leaf, 2) for leaf in jax.tree.leaves(jacobian)), jnp.zeros(()))


def _gram(a: Float[Array, "..."], leading: int = 1) -> Float[Array, "..."]:
    """Inner products over all but the `leading` axes, for all pairs of the leading indices."""
    rows = a.reshape(*a.shape[:leading], -1)
    return jnp.tensordot(rows, rows, axes=([-1], [-1]))
