"""What averages are made of, read off a forward and a backward pass.

See `reading` for cuts, v_m and D, `kernels` for the averages.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.layer_sites import LayerSites
from fwdmft.engine.update import Trained
from fwdmft.program.kernels import PopulationSites
from fwdmft.program.reading import Forwards, vectors
from fwdmft.program.state import ProgramFields
from fwdmft.program.structure import Structure, flat

Choose = Callable[[Float[Array, "point *rest"]], Float[Array, "chosen *rest"]]


def joined(blocks: Sequence[Float[Array, "..."]], axis: int) -> Float[Array, "..."]:
    """Concatenated, without a copy of a single one."""
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=axis)


def what_is_read(structure: Structure, forwards: Forwards) -> list[Float[Array, "point site neuron"]]:
    """What each readout reads."""
    numbers = range(len(structure.readouts))
    return [flat(a) for number in numbers for a in structure.at_cuts("readout", number, forwards.into)]


def acted_on(
    structure: Structure, number: int, forwards: Forwards
) -> list[Float[Array, "point vector position neuron"]]:
    """The vectors that matrix `number` acted on, use by use."""
    stencil = structure.matrices[number].stencil
    return [vectors(a, stencil) for a in structure.at_cuts("matrix", number, forwards.into)]


def contributions_to_f(
    structure: Structure, forwards: Forwards, readouts: Sequence[Trained]
) -> list[Float[Array, "point output neuron"]]:
    """w . v / sqrt(A) of every neuron, for each readout: gamma0 f is the sum over readouts of their averages."""
    pairs = zip(what_is_read(structure, forwards), readouts, strict=True)
    return [jnp.sum(v[:, None] * w.value, axis=2) / w.value.shape[1] ** 0.5 for v, w in pairs]


def population_sites(
    structure: Structure,
    population: str,
    fields: ProgramFields,
    at: Choose,
    rows: Sequence[Float[Array, "chosen row rank"]],
) -> PopulationSites:
    """The fields of one population that averages are made of.

    at: chooses the points that kernels are between.
    rows: for every input weights, factors x_ak of the overlaps of inputs (`kernels`).
    """
    forwards, added, f = fields.forwards, fields.backwards.added, fields.contributions
    layers = {
        number: LayerSites(at(flat(forwards.v[number])), at(flat(added.layers[number], 2)))
        for number, each in enumerate(structure.layers)
        if each.population == population
    }

    def own(kind: Sequence[Any], owner: str = "population") -> list[tuple[int, Any]]:
        """Numbers of those trained weights of a kind that belong to this population."""
        every = enumerate(kind)
        return [(number, each) for number, each in every if each.trained and getattr(each, owner) == population]

    ahead = {each.name: acted_on(structure, number, forwards) for number, each in own(structure.matrices, "source")}
    back = {
        each.name: [vectors(a, each.stencil, axes=2) for a in added.products[number]]
        for number, each in own(structure.matrices, "target")
    }
    arriving = {
        each.name: _arriving(at(joined([flat(a, 2) for a in added.inputs[number]], 2)), rows[number])
        for number, each in own(structure.inputs)
    }
    read = what_is_read(structure, forwards)
    given = [each for readout, each in zip(structure.readouts, f, strict=True) if readout.population == population]
    return PopulationSites(
        layers,
        {name: at(joined(blocks, 1)) for name, blocks in ahead.items()},
        {name: at(joined(blocks, 2)) for name, blocks in back.items()},
        arriving,
        {each.name: at(flat(added.vectors[number], 2)) for number, each in own(structure.vectors)},
        {each.name: at(read[number]) for number, each in own(structure.readouts)},
        sum(given[1:], given[0]) if given else jnp.zeros((0, *f[0].shape[1:])),
    )


def _arriving(
    gradients: Float[Array, "point output row neuron"], factors: Float[Array, "point row rank"]
) -> Float[Array, "point output k neuron"]:
    """y_k = sum_a x_ak D h_a (`kernels`), or D h itself at a single row of x."""
    return gradients if gradients.shape[2] == 1 else jnp.einsum("mak,mcan->mckn", factors, gradients)
