"""Kernels of a layer: averages over its neurons, summed over its sites (positions, tokens)."""

from typing import NamedTuple

from jaxtyping import Array, Float

from fwdmft.engine.products import gram


class LayerSites(NamedTuple):
    """Features v (point, position, neuron) and backward fields g (point, output, position, neuron) of one layer."""

    v: Float[Array, "*time point position neuron"]
    g: Float[Array, "*time point output position neuron"]


def summed_gram(rows: Float[Array, "*rest position neuron"]) -> Float[Array, "..."]:
    """sum_a <r_a r'_a> for all pairs of rows, (*rest, *rest)."""
    positions = rows.shape[-2]
    return positions * gram(rows.reshape(*rows.shape[:-2], -1))
