"""What evolves in training, and what a forward and a backward pass compute."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

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
    origin: tuple[Float[Array, "point output _neuron"], ...] | None
    begun: Bool[Array, ""]


class Backwards(NamedTuple):
    """Derivatives D of gamma0 f, N times those at width N (`reading`).

    into: D of what goes into every cut (point, output, site, neuron).
    added: D of everything that neurons are fed.
    coordinates: of the vectors that the transpose of each matrix acted on, for every use.
    """

    into: tuple[Float[Array, "point output ..."], ...]
    added: Additions
    coordinates: tuple[tuple[Float[Array, "_capacity _vector _position"], ...], ...]


class ProgramFields(NamedTuple):
    """What a forward and a backward pass compute.

    contributions: of every neuron to the predictions, for each readout, less those at t = 0 if predictions are centred.
    f: the predictions, sums over readouts of averages of these contributions.
    """

    forwards: Forwards
    backwards: Backwards
    contributions: tuple[Float[Array, "point output _neuron"], ...]
    f: Float[Array, "point output"]
