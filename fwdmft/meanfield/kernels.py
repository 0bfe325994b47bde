"""Kernels of a chain of layers: averages over single layers, and the tangent kernel made of them.

With fields at positions a of each layer (fully connected layers have one) and pooled features u^l = pool(v^l),

    Phi^l = sum_a <v_a v'_a> / A_l        G^l = sum_a <g_a g'_a>
    K = sum_(l=0)^L c_l sum_(a, b) G^(l+1)_ab (Phi^l_ab + sigma_b^2)        Phi^l_ab = sum_k <u_(a+k) u'_(b+k)> / n_k

where G_ab = <g_a g'_b>, G^(L+1) = delta_cc', and Phi^l_ab is what the weights behind layer l read at their places a and
b. The readout reads all positions at one place and has no bias. One term for each set of weights that is trained:
backward times forward kernel. With layers of equal width and no residual branch every c is 1.

The term of the input weights does without G^1_ab, the largest of these where a layer has many positions: Phi^0 is known
and of low rank, Phi^0_ab = sum_k x_ak x'_bk, so that the term is sum_k <y_k y'_k> with y_k = sum_a x_ak g_a.

A neuron's direct influence on K is a quadratic form in its own u and g.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield.positions import Taps
from fwdmft.meanfield.products import gram

TOGETHER = 1 << 22
"""Numbers that the quadratic forms of pairs of points may take at once, about."""


class LayerSites(NamedTuple):
    """Features v (point, position, neuron) and backward fields g (point, output, position, neuron) of one layer."""

    v: Array
    g: Array


class PopulationSites(NamedTuple):
    """Layers of a population, and its contributions to f (point, output, neuron): no points without a readout."""

    layers: tuple[LayerSites, ...]
    f: Array


class LayerKernels(NamedTuple):
    """feature, gradient: Phi and G. between_features, between_gradients: of u and of g, between all positions.

    of_inputs: sum_ab G_ab Phi^0_ab, which a first layer of several positions has in place of between_gradients.
    """

    feature: Float[Array, "point point"]
    gradient: Float[Array, "point output point output"]
    between_features: Float[Array, "point place point place"]
    between_gradients: Float[Array, "point output position point output position"] | None
    of_inputs: Float[Array, "point output point output"] | None


class PopulationAverages(NamedTuple):
    """Averages over one population."""

    layers: tuple[LayerKernels, ...]
    prediction: Float[Array, "point output"]


def averages(
    sites: PopulationSites,
    pools: tuple[Taps, ...],
    patches: Float[Array, "point position rank"] | None,
    p: Float[Array, " neuron"],
) -> PopulationAverages:
    """Kernels of every layer, each with its pool, and the prediction.

    patches: x of Phi^0 = x x'^T, if the first of these layers reads the input.
    """
    reads = (patches, *[None] * (len(pools) - 1))
    layers = tuple(_layer(*each, p) for each in zip(sites.layers, pools, reads, strict=True))
    return PopulationAverages(layers, jnp.sum(sites.f * p, axis=-1))


def _layer(layer: LayerSites, pool: Taps, patches: Array | None, p: Array) -> LayerKernels:
    feature = summed_gram(layer.v, p) / layer.v.shape[-2]
    between_features = gram(pool.mean(layer.v), p)
    if patches is not None and layer.v.shape[-2] > 1:
        arriving = jnp.einsum("mak,mcan->mckn", patches, layer.g)
        return LayerKernels(feature, summed_gram(layer.g, p), between_features, None, summed_gram(arriving, p))
    between_gradients = gram(layer.g, p)
    gradient = jnp.einsum("mcanda->mcnd", between_gradients)
    return LayerKernels(feature, gradient, between_features, between_gradients, None)


def summed_gram(rows: Float[Array, "*rest position neuron"], p: Float[Array, " neuron"]) -> Array:
    """sum_a <r_a r'_a> for all pairs of rows, (*rest, *rest)."""
    positions = rows.shape[-2]
    return gram(rows.reshape(*rows.shape[:-2], -1), jnp.tile(p, positions))


class TangentKernel(NamedTuple):
    """How K is made of the layers' kernels.

    scales: c_0 .. c_L, zero for weights that are not trained. inputs: (point, position, point, position) Phi^0 with
    bias, at the positions of the first layer. sigma_b: scale of biases. pools: of the layers. reading: how the weights
    behind each layer read its pooled features.
    """

    scales: tuple[float, ...]
    inputs: Float[Array, "point position point position"]
    sigma_b: float
    pools: tuple[Taps, ...]
    reading: tuple[Taps, ...]

    def assemble(self, layers: list[LayerKernels]) -> Float[Array, "point output point output"]:
        """K, from the kernels of all layers in order."""

        def term(number: int) -> Array:
            if number == 0 and layers[0].of_inputs is not None:
                return layers[0].of_inputs
            forward = self._forward(layers, number)
            return jnp.sum(forward[:, None, :, :, None, :] * _backward(layers, number), axis=(2, 5))

        return sum((c * term(number) for number, c in enumerate(self.scales) if c), jnp.zeros(()))

    def variance(
        self, layers: list[LayerKernels], sites: tuple[LayerSites, ...], first: int, p: Float[Array, " neuron"]
    ) -> Float[Array, "point output point output"]:
        """sum_i p_i psi_i^2 of the direct influence on K of the neurons of one population.

        layers: kernels of all layers. sites: of the population's layers, which are numbers `first`, `first` + 1, ...
        """
        numbers = range(first, first + len(sites))
        of_u = [self._of_features(layers, number) for number in numbers]
        rows = [self.pools[number].mean(layer.v) for number, layer in zip(numbers, sites, strict=True)]
        of_g = [self.scales[number] * self._forward(layers, number) for number in numbers]
        points, outputs = layers[0].gradient.shape[:2]

        def influence_variance(pair: Array) -> Float[Array, "output output"]:
            m, n = pair
            psi = jnp.zeros((outputs, outputs, len(p)))
            for u, layer, outer, inner in zip(rows, sites, of_u, of_g, strict=True):
                arriving = jnp.einsum("cadb,bi->cdai", outer[m, :, :, n], u[n])
                psi = psi + jnp.sum(u[m] * arriving, axis=2)
                arriving = jnp.einsum("ab,dbi->dai", inner[m, :, n], layer.g[n])
                psi = psi + jnp.sum(layer.g[m][:, None] * arriving, axis=2)
            return psi**2 @ p - (psi @ p) ** 2

        pairs = np.argwhere(np.ones((points, points)))
        numbers_each = outputs**2 * max(u.shape[1] for u in rows) * len(p)
        together = int(np.clip(TOGETHER // numbers_each, 1, len(pairs)))
        found = jax.lax.map(influence_variance, jnp.asarray(pairs), batch_size=together)
        return jnp.swapaxes(found.reshape(points, points, outputs, outputs), 1, 2)

    def _forward(self, layers: list[LayerKernels], number: int) -> Float[Array, "point place point place"]:
        """Phi_ab (+ sigma_b^2) that the weights behind layer `number` see, 0 being the input: d K / d G of the next."""
        if number == 0:
            return self.inputs
        read = self.reading[number - 1].overlap(layers[number - 1].between_features, 1)
        return read if number == len(layers) else read + self.sigma_b**2

    def _of_features(self, layers: list[LayerKernels], number: int) -> Array:
        """d K / d <u u'> of layer `number` + 1, (point, output, position, point, output, position)."""
        above = _backward(layers, number + 1)
        return self.scales[number + 1] * self.reading[number].transposed.overlap(above, 2)


def _backward(layers: list[LayerKernels], number: int) -> Float[Array, "point output place point output place"]:
    """G_ab above layer `number`."""
    if number < len(layers):
        found = layers[number].between_gradients
        assert found is not None, "only the term of the input weights does without"
        return found
    points, outputs = layers[-1].gradient.shape[:2]
    return jnp.broadcast_to(jnp.eye(outputs)[:, None, None, :, None], (points, outputs, 1, points, outputs, 1))


def feature_variance(layer: LayerSites, p: Float[Array, " neuron"]) -> Array:
    """Variance over neurons of their direct influence on Phi, for all pairs of points (or times and points)."""
    return pair_variance(layer.v, p) / layer.v.shape[-2] ** 2


def pair_variance(rows: Float[Array, "*rest position neuron"], p: Float[Array, " neuron"]) -> Array:
    """Variance over neurons of sum_a r_a r'_a for all pairs of rows, (*rest, *rest)."""
    shape, positions = rows.shape[:-2], rows.shape[-2]
    if positions == 1:
        single = rows[..., 0, :]
        return gram(single**2, p) - gram(single, p) ** 2
    flat = rows.reshape(-1, positions, len(p))

    def of_row(row: Array) -> Array:
        products = jnp.sum(row * flat, axis=1)
        return products**2 @ p - (products @ p) ** 2

    return jax.lax.map(of_row, flat).reshape(*shape, *shape)
