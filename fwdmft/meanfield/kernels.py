"""Kernels of a chain of layers: averages over single layers, and the tangent kernel made of them.

With fields at positions a of each layer (fully connected layers have one) and pooled features u^l = pool(v^l),

    Phi^l = sum_a <v_a v'_a> / A_l        G^l = sum_a <g_a g'_a>
    K = sum_(l=0)^L c_l sum_(a, b) G^(l+1)_ab (Phi^l_ab + sigma_b^2)        Phi^l_ab = sum_k <u_(a+k) u'_(b+k)> / n_k

where G_ab = <g_a g'_b>, G^(L+1) = delta_cc', and Phi^l_ab is what the weights behind layer l read at their places a and
b. The readout reads all positions at one place and has no bias. One term for each set of weights that is trained:
backward times forward kernel. With layers of equal width and no residual branch every c is 1.

The term of the input weights does without G^1_ab, the largest of these where a layer has many positions: Phi^0 is known
and of low rank, Phi^0_ab = sum_k x_ak x'_bk, so that the term is sum_k <y_k y'_k> with y_k = sum_a x_ak g_a.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.positions import Taps
from fwdmft.meanfield.products import gram


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
) -> PopulationAverages:
    """Kernels of every layer, each with its pool, and the prediction.

    patches: x of Phi^0 = x x'^T, if the first of these layers reads the input.
    """
    reads = (patches, *[None] * (len(pools) - 1))
    layers = tuple(_layer(*each) for each in zip(sites.layers, pools, reads, strict=True))
    return PopulationAverages(layers, jnp.mean(sites.f, axis=-1))


def _layer(layer: LayerSites, pool: Taps, patches: Array | None) -> LayerKernels:
    feature = summed_gram(layer.v) / layer.v.shape[-2]
    between_features = gram(pool.mean(layer.v))
    if patches is not None and layer.v.shape[-2] > 1:
        arriving = jnp.einsum("mak,mcan->mckn", patches, layer.g)
        return LayerKernels(feature, summed_gram(layer.g), between_features, None, summed_gram(arriving))
    between_gradients = gram(layer.g)
    gradient = jnp.einsum("mcanda->mcnd", between_gradients)
    return LayerKernels(feature, gradient, between_features, between_gradients, None)


def summed_gram(rows: Float[Array, "*rest position neuron"]) -> Array:
    """sum_a <r_a r'_a> for all pairs of rows, (*rest, *rest)."""
    positions = rows.shape[-2]
    return positions * gram(rows.reshape(*rows.shape[:-2], -1))


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

    def _forward(self, layers: list[LayerKernels], number: int) -> Float[Array, "point place point place"]:
        """Phi_ab (+ sigma_b^2) that the weights behind layer `number` see, 0 being the input: d K / d G of the next."""
        if number == 0:
            return self.inputs
        read = self.reading[number - 1].overlap(layers[number - 1].between_features, 1)
        return read if number == len(layers) else read + self.sigma_b**2


def _backward(layers: list[LayerKernels], number: int) -> Float[Array, "point output place point output place"]:
    """G_ab above layer `number`."""
    if number < len(layers):
        found = layers[number].between_gradients
        assert found is not None, "only the term of the input weights does without"
        return found
    points, outputs = layers[-1].gradient.shape[:2]
    return jnp.broadcast_to(jnp.eye(outputs)[:, None, None, :, None], (points, outputs, 1, points, outputs, 1))
