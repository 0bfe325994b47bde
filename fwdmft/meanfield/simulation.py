"""The large simulation: infinite width from many sample neurons, with room for the bases of its random matrices."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.meanfield import room
from fwdmft.meanfield.compiling import quickly
from fwdmft.meanfield.dynamics import Drive, one_pass
from fwdmft.meanfield.field_equations import Activity, FieldEquations, Observables
from fwdmft.meanfield.gaussian_matrix import GaussianMatrix, untouched
from fwdmft.meanfield.layers import Layers, strengths, two_time_kernels
from fwdmft.meanfield.room import Bases

STRENGTH = "strength"
"""Name of the strengths of the layers' kernels among the observables."""


class Observing(NamedTuple):
    """What is collected at every saved time, and made into observables after the pass.

    two_time: kernels between all pairs of times as well. strength: `layers.strengths` as well.
    """

    two_time: bool = False
    strength: bool = False

    def __call__(self, equations: FieldEquations, activity: Activity) -> tuple[Observables, Layers]:
        sites = equations.sites(activity)
        return equations.observe(sites), equations.layer_sites(sites) if self.two_time else ()

    def complete(self, collected: tuple[Observables, Layers]) -> Observables:
        """Observables (time, ...), and those named in `layers.TWO_TIME_DIMS`."""
        seen, layers = collected
        found = seen | {STRENGTH: strengths(seen)} if self.strength else seen
        return found | two_time_kernels(layers) if layers else found


class Large(NamedTuple):
    """Observables at infinite width, the bases that they took, and the equations with room for these."""

    seen: dict[str, np.ndarray]
    bases: Bases
    equations: FieldEquations


def gaussian_matrices(
    equations: FieldEquations, noise: dict[str, Array], momentum: bool, recorded: int = 0
) -> tuple[GaussianMatrix, ...]:
    """The random matrices before training, between all the neurons. recorded: number of blocks to keep a record of."""
    return tuple(
        untouched(
            matrix.capacities,
            (noise[matrix.source].shape[-1], noise[matrix.target].shape[-1]),
            momentum,
            matrix.offsets,
            (recorded, *matrix.blocks) if recorded else None,
        )
        for matrix in equations.matrices
    )


@partial(quickly, static=(3,))
def _large_pass(
    equations: FieldEquations, noise: dict[str, Array], drive: Drive, observing: Observing
) -> tuple[Observables, Bases]:
    total: Any = None
    found = []
    for rung in drive.ladder:
        matrices = gaussian_matrices(equations, noise, drive.momentum != 0)
        halt = (lambda m: jnp.any(room.bases(m).full)) if matrices else None
        seen = one_pass(equations, noise, matrices, drive, observing.__call__, rung.substeps, halt=halt)
        observables = jax.tree.map(lambda a, c=rung.coefficient: c * a, observing.complete(seen.seen))
        total = observables if total is None else jax.tree.map(jnp.add, total, observables)
        found.append(room.bases(seen.matrices))
    return total, Bases(*(jnp.max(jnp.stack(each), axis=0) for each in zip(*found, strict=True)))


def infinite_width(equations: FieldEquations, draw: Any, drive: Drive, observing: Observing) -> Large | None:
    """One pass, repeated with more room until its bases are not full; None if they have too many vectors.

    draw: the noise for given equations. A pass that was broken off is never returned.
    """
    while True:
        noise = draw(equations)
        count = min(noise[population.name].shape[-1] for population in equations.populations)
        seen, bases = _large_pass(equations, noise, drive, observing)
        bases = jax.tree.map(np.asarray, bases)
        if not np.any(bases.full):
            return Large({name: np.asarray(a) for name, a in seen.items()}, bases, equations)
        if room.NEURONS_PER_VECTOR * int(np.max(bases.rank)) > count:
            return None
        matrices = equations.matrices
        wider = room.fitted(tuple(m.capacities for m in matrices), [m.blocks for m in matrices], bases)
        if min(max(pair) for pair in wider) > count:
            return None
        equations = equations.with_room(wider)
