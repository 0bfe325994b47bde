"""Kernels of a chain of layers: averages over single layers, and the tangent kernel made of them.

    K = c_0 G^1 Phi_b^0 + sum_(l=1)^(L-1) c_l G^(l+1) Phi_b^l + c_L delta_cc' Phi^L         Phi_b = Phi + sigma_b^2

One term for each set of weights that is trained: backward times forward kernel. With layers of equal width and no
residual branch every c is 1. Kernels of one population are averages over its neurons, so the variance of a neuron's
direct influence on K is made of fourth moments <v v' g g'> within populations.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.products import gram


class LayerSites(NamedTuple):
    """Features v (point, neuron) and backward fields g (point, output, neuron) of one layer."""

    v: Array
    g: Array


class PopulationSites(NamedTuple):
    """Layers of a population, and its contributions to f (point, output, neuron): no points without a readout."""

    layers: tuple[LayerSites, ...]
    f: Array


class LayerKernels(NamedTuple):
    feature: Float[Array, "point point"]
    gradient: Float[Array, "point output point output"]


class PopulationAverages(NamedTuple):
    """Averages over one population."""

    layers: tuple[LayerKernels, ...]
    prediction: Float[Array, "point output"]


def averages(sites: PopulationSites, p: Float[Array, " neuron"]) -> PopulationAverages:
    """Kernels of every layer, and the prediction."""
    layers = tuple(LayerKernels(gram(layer.v, p), gram(layer.g, p)) for layer in sites.layers)
    return PopulationAverages(layers, jnp.sum(sites.f * p, axis=-1))


class TangentKernel(NamedTuple):
    """How K is made of the layers' kernels.

    scales: c_0 .. c_L, zero for weights that are not trained. inputs: (point, point) Phi_b^0. sigma_b: scale of biases.
    """

    scales: tuple[float, ...]
    inputs: Float[Array, "point point"]
    sigma_b: float

    def assemble(self, layers: list[LayerKernels]) -> Float[Array, "point output point output"]:
        """K, from the kernels of all layers in order."""
        total = _among_outputs(self._of_gradient(layers, 0)) * layers[0].gradient
        for number, layer in enumerate(layers):
            forward = layer.feature if number + 1 == len(layers) else layer.feature + self.sigma_b**2
            total = total + self._of_feature(layers, number) * _among_outputs(forward)
        return total

    def variance(
        self, layers: list[LayerKernels], sites: tuple[LayerSites, ...], first: int, p: Float[Array, " neuron"]
    ) -> Float[Array, "point output point output"]:
        """sum_i p_i psi_i^2 of the direct influence on K of the neurons of one population.

        layers: kernels of all layers. sites: of the population's layers, which are numbers `first`, `first` + 1, ...
        """
        terms: list[tuple[Array, Array]] = []
        for number, site in enumerate(sites, start=first):
            terms.append((self._of_feature(layers, number), site.v[:, None]))
            terms.append((_among_outputs(self._of_gradient(layers, number)), site.g))
        means = [gram(rows, p) for _, rows in terms]
        total = jnp.zeros(())
        for i, (factor, rows) in enumerate(terms):
            for j in range(i + 1):
                other = terms[j]
                covariance = gram(rows * other[1], p) - means[i] * means[j]
                total = total + (1 if i == j else 2) * factor * other[0] * covariance
        return total

    def _of_feature(self, layers: list[LayerKernels], number: int) -> Array:
        """d K / d Phi of a layer, (point, output, point, output) up to broadcasting."""
        if number + 1 < len(layers):
            return self.scales[number + 1] * layers[number + 1].gradient
        outputs = layers[number].gradient.shape[1]
        return self.scales[number + 1] * jnp.eye(outputs)[None, :, None, :]

    def _of_gradient(self, layers: list[LayerKernels], number: int) -> Float[Array, "point point"]:
        """d K / d G of a layer."""
        forward = self.inputs if number == 0 else layers[number - 1].feature + self.sigma_b**2
        return self.scales[number] * forward


def pair_variance(rows: Float[Array, "*rest neuron"], p: Float[Array, " neuron"]) -> Array:
    """Variance over neurons of the products a a' of all pairs of rows, (*rest, *rest)."""
    return gram(rows**2, p) - gram(rows, p) ** 2


def _among_outputs(kernel: Float[Array, "point point"]) -> Float[Array, "point 1 point 1"]:
    return kernel[:, None, :, None]
