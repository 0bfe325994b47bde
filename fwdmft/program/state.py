"""What evolves in training, and what a forward and a backward pass find."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from fwdmft.engine.averages import Averages
from fwdmft.engine.update import Trained
from fwdmft.program.reading import Additions, Forwards


class ProgramState(NamedTuple):
    """Of all weights, in the order of the structure.

    inputs: action of the input weights on their rows, or those themselves (see `weights`). vectors: scale theta.
    readouts: (output, site, neuron). origin: contributions to the predictions at t = 0 per neuron of each readout
    (point, output, neuron), None if predictions are not centred. begun: whether they are known yet.
    """

    inputs: tuple[Trained, ...]
    matrices: tuple[Any, ...]
    vectors: tuple[Trained, ...]
    readouts: tuple[Trained, ...]
    averages: Averages
    origin: tuple[Float[Array, "point output _neuron"], ...] | None
    begun: Bool[Array, ""]


class ProgramActivity(NamedTuple):
    """What a forward and a backward pass found, all derivatives being those of gamma0 f, N times those at width N.

    into: of what goes into every cut (point, output, site, neuron). added: of everything else. coordinates: of the
    vectors that each matrix acted on backwards, for every use. state: as these passes left it.
    """

    forwards: Forwards
    into: tuple[Float[Array, "point output ..."], ...]
    added: Additions
    coordinates: tuple[tuple[Float[Array, "_capacity _vector _position"], ...], ...]
    state: ProgramState
