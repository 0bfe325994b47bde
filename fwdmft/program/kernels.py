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

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.layer_sites import LayerSites, summed_gram
from fwdmft.engine.products import gram
from fwdmft.program.structure import Structure


class PopulationSites(NamedTuple):
    """What the neurons of a population contribute to averages; tuples run over weights of one kind, if trained.

    layers: v (point, site, neuron), g (point, output, site, neuron). ahead: vectors of the matrices that lead from here
    (point, vector, position, neuron). back: D of the products of those that lead here (point, output, vector, place,
    neuron). inputs: y_k (point, output, k, neuron), or D h at a single site. vectors: D of numbers
    (point, output, component, neuron). readouts: what is read (point, site, neuron). f: contributions to predictions
    (point, output, neuron), none (0, output, neuron) without a readout.
    """

    layers: tuple[LayerSites, ...]
    ahead: tuple[Float[Array, "point vector position neuron"], ...]
    back: tuple[Float[Array, "point output vector place neuron"], ...]
    inputs: tuple[Float[Array, "point output k neuron"], ...]
    vectors: tuple[Float[Array, "point output component neuron"], ...]
    readouts: tuple[Float[Array, "point site neuron"], ...]
    f: Float[Array, "point output neuron"]


class LayerKernels(NamedTuple):
    """Phi and G of a layer."""

    feature: Float[Array, "point point"]
    gradient: Float[Array, "point output point output"]


class PopulationAverages(NamedTuple):
    """Averages over one population: <v v'> and <D z D z'> of matrices between all sites, of all others summed."""

    layers: tuple[LayerKernels, ...]
    ahead: tuple[Float[Array, "point vector position point vector position"], ...]
    back: tuple[Float[Array, "point output vector place point output vector place"], ...]
    inputs: tuple[Float[Array, "point output point output"], ...]
    vectors: tuple[Float[Array, "point output point output"], ...]
    readouts: tuple[Float[Array, "point point"], ...]
    prediction: Float[Array, "point output"]


def averages(sites: PopulationSites) -> PopulationAverages:
    """Over the neurons."""

    def of_layer(layer: LayerSites) -> LayerKernels:
        return LayerKernels(summed_gram(layer.v) / layer.v.shape[-2], summed_gram(layer.g))

    return PopulationAverages(
        tuple(map(of_layer, sites.layers)),
        tuple(map(gram, sites.ahead)),
        tuple(map(gram, sites.back)),
        tuple(map(summed_gram, sites.inputs)),
        tuple(map(summed_gram, sites.vectors)),
        tuple(map(summed_gram, sites.readouts)),
        jnp.mean(sites.f, axis=-1),
    )


def of_gradients(
    structure: Structure, sites: dict[str, PopulationSites]
) -> dict[str, Float[Array, "point output point output"]]:
    """<Y_k Y'_k> by name, of the trained matrices for which this takes less than averages between all sites."""
    left = {name: (iter(each.ahead), iter(each.back)) for name, each in sites.items()}
    terms = {}
    for matrix in structure.matrices:
        if matrix.trained:
            v, back = next(left[matrix.source][0]), next(left[matrix.target][1])
            (points, vectors, positions, sources), (_, outputs, _, places, targets) = v.shape, back.shape
            gradients, entries = points * outputs, matrix.stencil.offsets * sources * targets
            between_sites = (gradients * vectors * places) ** 2 * targets + (
                points * vectors * positions
            ) ** 2 * sources
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
    kinds = "ahead", "back", "inputs", "vectors", "readouts"
    left = {name: {kind: iter(getattr(each, kind)) for kind in kinds} for name, each in averages.items()}

    def take(population: str, kind: str) -> Float[Array, "..."]:
        return next(left[population][kind])

    terms = []
    for each, overlap in zip(structure.inputs, overlaps, strict=True):
        if each.trained:
            gradient = take(each.population, "inputs")
            factor = 1.0 if overlap is None else overlap[:, None, :, None]
            terms.append(widths[each.population] * factor * gradient)
    for matrix in structure.matrices:
        if matrix.trained:
            forward, backward = take(matrix.source, "ahead"), take(matrix.target, "back")
            if matrix.name in gradients:
                term = gradients[matrix.name]
            else:
                term = jnp.einsum("mvanwb,mcvandwb->mcnd", matrix.stencil.overlap(forward, 2), backward)
            terms.append(widths[matrix.target] * term)
    for vector in structure.vectors:
        if vector.trained:
            terms.append(widths[vector.population] * vector.scale**2 * take(vector.population, "vectors"))
    for readout in structure.readouts:
        if readout.trained:
            kernel = take(readout.population, "readouts") / (readout.places * widths[readout.population])
            terms.append(kernel[:, None, :, None] * jnp.eye(outputs)[:, None, :])
    return sum(terms[1:], terms[0])
