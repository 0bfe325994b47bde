"""Kernels of a forward program: of single layers, and the tangent kernel, made of averages over single populations.

With fields at sites a of a layer,

    Phi^l = sum_a <v_a v'_a> / A_l        G^l = sum_a <g_a g'_a>

and with the products z of a matrix, of the vectors v, at all sites of all uses,

    K = sum over weights of what they contribute:
        matrix               n_target sum_ab <D z_a D z'_b> <v v'>_ab
        input weights        n sum_ab <D h_a D h'_b> (x_a.x'_b / D + sigma_b^2)
        numbers of neurons   n scale^2 <D theta D theta'>
        readout              sum_a <v_a v'_a> / (A n) for each output

where D is the derivative of gamma0 f (`reading`), n a population's width in units of N, <v v'>_ab what a bank reads at
its places a and b (`Stencil.overlap`).

The input weights do without <D h_a D h'_b>, large where there are many sites: with overlaps of inputs sum_k x_ak x'_bk
their term is sum_k <y_k y'_k>, y_k = sum_a x_ak D h_a. So can a matrix between few neurons. Its gradients are
Y_k = sum_a D z_a v_(a+k)^T for every offset k; its term is n_target <Y_k Y'_k>, an average over entries and offsets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.layer_sites import LayerSites, summed_gram
from fwdmft.engine.products import gram
from fwdmft.program.structure import Structure


class PopulationSites(NamedTuple):
    """What the neurons of a population contribute to averages, by the name of the weights, if trained.

    layers: v (point, site, neuron), g (point, output, site, neuron), by the number of the layer. ahead: vectors of the
    matrices that lead from here (point, vector, position, neuron). back: D of the products of those that lead here
    (point, output, vector, place, neuron). inputs: y_k (point, output, k, neuron), or D h at a single site. vectors: D
    of numbers (point, output, component, neuron). readouts: what is read (point, site, neuron). f: contributions to
    predictions (point, output, neuron), none (0, output, neuron) without a readout.
    """

    layers: dict[int, LayerSites]
    ahead: dict[str, Float[Array, "point vector position neuron"]]
    back: dict[str, Float[Array, "point output vector place neuron"]]
    inputs: dict[str, Float[Array, "point output k neuron"]]
    vectors: dict[str, Float[Array, "point output component neuron"]]
    readouts: dict[str, Float[Array, "point site neuron"]]
    f: Float[Array, "point output neuron"]


class LayerKernels(NamedTuple):
    """Phi and G of a layer."""

    feature: Float[Array, "point point"]
    gradient: Float[Array, "point output point output"]


class PopulationAverages(NamedTuple):
    """Averages over one population: <v v'> and <D z D z'> of matrices between all sites, of all others summed."""

    layers: dict[int, LayerKernels]
    ahead: dict[str, Float[Array, "point vector position point vector position"]]
    back: dict[str, Float[Array, "point output vector place point output vector place"]]
    inputs: dict[str, Float[Array, "point output point output"]]
    vectors: dict[str, Float[Array, "point output point output"]]
    readouts: dict[str, Float[Array, "point point"]]
    prediction: Float[Array, "point output"]


def averages(sites: PopulationSites) -> PopulationAverages:
    """Over the neurons."""

    def of_layer(layer: LayerSites) -> LayerKernels:
        return LayerKernels(summed_gram(layer.v) / layer.v.shape[-2], summed_gram(layer.g))

    return PopulationAverages(
        {number: of_layer(layer) for number, layer in sites.layers.items()},
        jax.tree.map(gram, sites.ahead),
        jax.tree.map(gram, sites.back),
        jax.tree.map(summed_gram, sites.inputs),
        jax.tree.map(summed_gram, sites.vectors),
        jax.tree.map(summed_gram, sites.readouts),
        jnp.mean(sites.f, axis=-1),
    )


def of_gradients(
    structure: Structure, sites: dict[str, PopulationSites]
) -> dict[str, Float[Array, "point output point output"]]:
    """<Y_k Y'_k> by name, of the trained matrices for which this takes less than averages between all sites."""
    terms = {}
    for matrix in structure.matrices:
        if matrix.trained:
            v, back = sites[matrix.source].ahead[matrix.name], sites[matrix.target].back[matrix.name]
            (points, vectors, positions, sources), (_, outputs, _, places, targets) = v.shape, back.shape
            gradients, entries = points * outputs, matrix.stencil.offsets * sources * targets
            between_sites = (gradients * vectors * places) ** 2 * targets
            between_sites += (points * vectors * positions) ** 2 * sources
            if gradients * (vectors * places + gradients) * entries < between_sites:
                each = jnp.einsum("mvaki,mcvao->mckoi", matrix.stencil.rows(v), back)
                terms[matrix.name] = gram(each.reshape(points, outputs, entries))
    return terms


def tangent_kernel(
    structure: Structure,
    widths: dict[str, float],
    overlaps: tuple[Float[Array, "point point"] | None, ...],
    averages: dict[str, PopulationAverages],
    gradients: dict[str, Float[Array, "point output point output"]],
    outputs: int,
) -> Float[Array, "point output point output"]:
    """K. overlaps: x.x' / D + sigma_b^2 of those input weights that have a single row of x at each point. gradients: of
    matrices for which they take the place of averages (`of_gradients`)."""
    terms = []
    for each, overlap in zip(structure.inputs, overlaps, strict=True):
        if each.trained:
            gradient = averages[each.population].inputs[each.name]
            factor = 1.0 if overlap is None else overlap[:, None, :, None]
            terms.append(widths[each.population] * factor * gradient)
    for matrix in structure.matrices:
        if matrix.trained:
            if matrix.name in gradients:
                term = gradients[matrix.name]
            else:
                forward = averages[matrix.source].ahead[matrix.name]
                backward = averages[matrix.target].back[matrix.name]
                term = jnp.einsum("mvanwb,mcvandwb->mcnd", matrix.stencil.overlap(forward, 2), backward)
            terms.append(widths[matrix.target] * term)
    for vector in structure.vectors:
        if vector.trained:
            terms.append(widths[vector.population] * vector.scale**2 * averages[vector.population].vectors[vector.name])
    for readout in structure.readouts:
        if readout.trained:
            kernel = averages[readout.population].readouts[readout.name]
            kernel = kernel / (readout.places * widths[readout.population])
            terms.append(kernel[:, None, :, None] * jnp.eye(outputs)[:, None, :])
    return sum(terms[1:], terms[0])
