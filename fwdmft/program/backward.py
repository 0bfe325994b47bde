"""The backward pass of a forward program: from predictions to everything that neurons are fed.

See `reading` for y_k, v_m, cuts and D. The cuts are visited from the last to the first. Let v_m belong to a population
of n N neurons. At a

    readout    D v_m = w / (n sqrt(A))                   w: readout weights, A: number of sites
    matrix     D v_m = sqrt(n' / n) W^T D z / sqrt(N')   z: the product with v_m, of a population of N' = n' N neurons
    average    D v_m = (gamma0 d f / d a) / n            a: the average

After each cut, what D v_m implies for the earlier y_k is added to their D.

JAX's cotangents are derivatives of a mean over S neurons, so they are 1/S times as large as D. The code multiplies all
of them by one number, S / n of the first population, and corrects where S / n of another population is not the same.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.program.reading import Additions, Fed, Linearised, vectors, zero_like
from fwdmft.program.state import Backwards, ProgramState
from fwdmft.program.structure import Structure


def backward(
    run: Linearised,
    structure: Structure,
    state: ProgramState,
    fed: Fed,
    neurons: dict[str, int],
    width: dict[str, float],
) -> tuple[ProgramState, Backwards]:
    """D of everything, and the state with what both passes drew of the random matrices.

    run: the forward pass. state: before it. fed: what neurons were fed. neurons: of every population, how many are at
    hand. width: of every population, in units of N.
    """
    points, outputs = len(run.forwards.into[0]), len(state.readouts[0].value)
    size = neurons[structure.populations[0]] / width[structure.populations[0]]
    share = {name: count / width[name] / size for name, count in neurons.items()}

    def whole(population: str, cotangent: Float[Array, "*axis"]) -> Float[Array, "*axis"]:
        return cotangent if share[population] == 1.0 else share[population] * cotangent

    forwards = run.forwards
    matrices = list(forwards.matrices)
    total = zero_like(run.zero, outputs)
    into: list[Float[Array, "point output *site neuron"]] = []
    coordinates: list[list[Float[Array, "capacity vector position"]]] = [[] for _ in matrices]
    for number in reversed(range(len(structure.cuts))):
        cut, entering = structure.cuts[number], forwards.into[number]
        shape = points, outputs, *entering.shape[1:]
        if cut.kind == "readout":
            readout = structure.readouts[cut.number]
            w = state.readouts[cut.number].value / (width[readout.population] * readout.places**0.5)
            population, back = readout.population, jnp.broadcast_to(w, (points, *w.shape)).reshape(shape)
        elif cut.kind == "matrix":
            matrix, prior = structure.matrices[cut.number], fed.priors[cut.number]
            population = matrix.source
            signal = vectors(whole(matrix.target, total.products[cut.number][cut.use]), matrix.stencil, axes=2)
            matrices[cut.number], product = matrices[cut.number].apply_transposed(
                signal.reshape(-1, *signal.shape[3:]), fed.noise[cut.number][1], prior
            )
            coordinates[cut.number].insert(0, product.coordinates)
            # A derivative in single neurons of unequally wide layers is W^T D / sqrt(N_source).
            back = (width[matrix.target] / width[matrix.source]) ** 0.5 * product.value.reshape(shape)
        else:
            population = structure.averages[cut.number].population
            slope = total.averages[cut.number] / size
            back = jnp.broadcast_to((slope / width[population])[..., None], shape)
        into.insert(0, back)
        cotangent = back if share[population] == 1.0 else back / share[population]
        total = jax.tree.map(jnp.add, total, run.pulled_back(number, cotangent))

    def wholes(populations: list[str], cotangents: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(jax.tree.map(partial(whole, name), a) for name, a in zip(populations, cotangents, strict=True))

    added = Additions(
        wholes([each.population for each in structure.inputs], total.inputs),
        wholes([matrix.target for matrix in structure.matrices], total.products),
        wholes([each.population for each in structure.vectors], total.vectors),
        total.averages,
        wholes([each.population for each in structure.layers], total.layers),
    )
    state = state._replace(matrices=tuple(matrices))
    return state, Backwards(tuple(into), added, tuple(map(tuple, coordinates)))
