"""q: the mean over R large simulations with S neurons each, where S follows from a stated error.

Their spread, steadied by what independent neurons would leave, gives the standard error (`sobol_errors`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fwdmft.engine import capacity, neurons, simulation
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Noise
from fwdmft.engine.problem import JUDGED, TheoryTask
from fwdmft.engine.simulation import Crowded, Observing
from fwdmft.errors import ComputationError
from fwdmft.executors import SideBySide, Work
from fwdmft.in_order import THREADS, fitting_workers

FEWEST, MOST = 1 << 10, 1 << 17
"""Neurons per simulation: the first try where simulations are costly, and the last."""

AHEAD = 4
"""So many times more neurons than needed are taken at most where this costs less than to compile another program."""

MOST_NUMBERS = 1 << 27
"""Numbers that fields of a simulation may be at most, and bases at first, unless a number of neurons is given: there
may be many points."""

MOST_OF_BASES = 1 << 28
"""Numbers that bases of random matrices may be, grown as is expected, unless a number of neurons is given."""

TRIED = 1 << 12
"""Neurons per simulation at which bases must have found room, unless a number is given: beyond, draws tell q sooner."""

SHARE, SHARE_WITHOUT_MATRICES = 0.25, 0.03
"""The error of q is to be so much smaller than the stated one: b / N of networks is a difference to q, which costs
little without random matrices."""

COMPILING = 10**11
"""Flops that take as long as compiling for other bases, about."""

DEAR = 8
"""Simulations of random matrices that take so many times longer have the stated error of q, not a share of it."""

OF_A_FIELD = 20
"""Flops for each number that a neuron's fields are, in a step, about."""

LEFT_OUT = 0
"""Stands for what bases leave out, among the numbers of the simulations after the first."""

NEURONS_PER_IMAGE = 24
"""Neurons for each image of Sobol points, at least. With 5 to 10 of them the gradient kernel of 100 and 200 points is
off by 3 to 6 %, with 20 by less than .6 %, with 40 by .15 %, which is its standard error in four simulations."""

Arrays = dict[str, Float[np.ndarray, "..."]]
"""By observable (time, ...); of two-time kernels as `layers.TWO_TIME_DIMS` says."""

Report = Callable[[str, int, int], None]


class Infinite(NamedTuple):
    """q from R simulations (simulation, ...) of `neurons` neurons, and the largest bases that they took.

    truncation: error of q that is common to all, from what bases leave out and from steps of finite length; {} until
    it is measured.
    """

    each: dict[str, Float[np.ndarray, "simulation ..."]]
    truncation: Arrays
    neurons: int
    bases: capacity.Bases
    equations: FieldEquations

    @property
    def mean(self) -> Arrays:
        return {name: a.mean(axis=0) for name, a in self.each.items()}

    @property
    def width(self) -> float:
        """Width N of networks with as many neurons as a simulation has, about."""
        widths = [population.width for population in self.equations.populations]
        return self.neurons / max(widths) if like_a_network(self.equations, self.neurons) else float(self.neurons)

    @property
    def spread(self) -> Arrays:
        """Standard error of the mean from the spread alone, not widened (`sobol_errors`)."""
        return {name: a.std(axis=0, ddof=1) / np.sqrt(len(a)) for name, a in self.each.items()}

    def with_error(self, error: Callable[[str, Float[np.ndarray, "*axis"]], Float[np.ndarray, "*axis"]]) -> "Infinite":
        """With a further error that is common to all, from the name and the mean of an observable."""
        more = {name: error(name, value) for name, value in self.mean.items()}
        return self._replace(truncation={name: np.hypot(a, more[name]) for name, a in self.truncation.items()})


def infinite_width(task: TheoryTask, report: Report, side_by_side: SideBySide = THREADS) -> Infinite | Crowded:
    """As many neurons as the error asks for; `Crowded` if the vectors of training are too many for them."""
    spec, equations = task.spec, task.at_infinite_width
    cheap = affordable(task, equations, task.updates)
    count = spec.neurons or first_try(cheap)
    if spec.neurons is None and (vectors := too_large_at_first(task)):
        return Crowded(vectors, equations)
    most = most_neurons(task)
    while True:
        last = spec.neurons is not None or count >= most
        simulated = _simulations(task, equations, count, report, last, side_by_side)
        if isinstance(simulated, Crowded):
            if last or count >= TRIED:
                return simulated
            # What is known of the bases holds with more neurons as well.
            equations, count = simulated.equations, 4 * count
        elif last:
            return simulated
        else:
            equations = fitting(simulated.equations, simulated.bases)
            more = next_try(count, excess_error(task, simulated), affordable(task, equations, task.updates))
            if more == count:
                return _with_truncation(simulated, task)
            count = more
        count = min(count, most)


def most_neurons(task: TheoryTask) -> int:
    """Neurons of a simulation at most: those that the experiment names, or as many as there is room for."""
    matrices = task.at_infinite_width.matrices
    fields = MOST_NUMBERS // task.site_numbers
    bases = MOST_OF_BASES // max(1, capacity.of_a_neuron(matrices, capacity.expected(matrices, MOST)))
    return task.spec.neurons or int(np.clip(_power_of_two(min(fields, bases)), TRIED, MOST))


def _power_of_two(count: float) -> int:
    """The largest one that is not larger."""
    return 1 << max(int(count), 1).bit_length() - 1


def affordable(task: TheoryTask, equations: FieldEquations, updates: int) -> int:
    """Neurons of which all simulations take as long as compiling their program."""
    each = updates * (_flops(equations) + OF_A_FIELD * task.site_numbers)
    return _power_of_two(COMPILING / (each * (task.spec.replicates + 1)))


def first_try(affordable: int) -> int:
    """Neurons of the first simulations."""
    return int(np.clip(affordable, FEWEST, AHEAD * FEWEST))


class Excess(NamedTuple):
    """The error of q over the share of the stated error that it is to have, and over what it may be if that is dear."""

    wished: float
    needed: float


def next_try(count: int, excess: Excess, affordable: int) -> int:
    """Neurons after a try with so many that had this excess of its error; the same number if they are enough."""

    def tried(excess: float) -> int:
        needed = count * wider(excess)
        return count if excess <= 1 else int(np.clip(affordable, needed, AHEAD * needed))

    more = tried(excess.wished)
    return more if more <= DEAR * affordable else tried(excess.needed)


def excess_error(task: TheoryTask, infinite: Infinite) -> Excess:
    """Of these simulations."""
    error = max(relative(infinite.spread[name], infinite.mean[name]) for name in JUDGED) / task.spec.relative_error
    if task.equations.matrices:
        return Excess(error / SHARE, error)
    return Excess(error / SHARE_WITHOUT_MATRICES, error / SHARE_WITHOUT_MATRICES)


def wider(excess: float) -> int:
    """How many times as many neurons are tried next."""
    return 2 ** int(np.ceil(np.log2(np.clip(excess, 2, 32))))


def too_large_at_first(task: TheoryTask) -> int:
    """Vectors that a random matrix acts on at once, if bases for these are too large with few neurons; else 0."""
    matrices = task.at_infinite_width.matrices
    if capacity.numbers(matrices, FEWEST) <= MOST_NUMBERS:
        return 0
    return max(max(matrix.blocks) for matrix in matrices)


def relative(error: Float[np.ndarray, "*axis"], value: Float[np.ndarray, "*axis"]) -> float:
    """Root mean square of the error over that of the value; 0 for a value that vanishes."""
    size = float(np.sqrt(np.mean(value**2)))
    return float(np.sqrt(np.mean(error**2))) / size if size > 0 else 0.0


def _simulations(
    task: TheoryTask, equations: FieldEquations, count: int, report: Report, last: bool, side_by_side: SideBySide
) -> Infinite | Crowded:
    """last: whether what bases leave out is measured as well."""
    stage, replicates = f"infinite width, {count} neurons", task.spec.replicates
    report(stage, 0, replicates)
    first = large(task, equations, count, 0)
    if isinstance(first, Crowded):
        return first
    check_finite(first.seen["prediction"], task.times)
    equations, closer = first.equations, fitting(first.equations, first.bases)
    steps = task.updates
    if (_flops(equations) - _flops(closer)) * count * steps * (replicates - 1) > COMPILING:
        equations = closer
    first = first._replace(equations=equations)
    simulations, left_out = [first], {}
    numbers = [*range(1, replicates), *([LEFT_OUT] if last else [])]
    work = Work(
        partial(_simulating, first, task, count),
        numbers,
        workers=fitting_workers(simulation_numbers(task, equations, count)),
        flops=len(numbers) * count * steps * (_flops(equations) + OF_A_FIELD * task.site_numbers),
    )
    for one in side_by_side(work):
        if isinstance(one, Crowded):
            return one
        if isinstance(one, dict):
            left_out = one
            continue
        check_finite(one.seen["prediction"], task.times)
        report(stage, len(simulations), replicates)
        simulations.append(one)
    report(stage, replicates, replicates)
    each = {name: np.stack([each.seen[name] for each in simulations]) for name in simulations[0].seen}
    bases = capacity.largest(one.bases for one in simulations)
    return Infinite(each, left_out, count, bases, _enlarged([one.equations for one in simulations]))


def _simulating(
    first: simulation.Large, task: TheoryTask, count: int
) -> Callable[[int], simulation.Large | Crowded | Arrays]:
    """Makes the simulation of a number, or of what bases leave out of the first."""
    return lambda number: (
        _truncation(first, task, count) if number == LEFT_OUT else large(task, first.equations, count, number)
    )


def _truncation(first: simulation.Large, task: TheoryTask, count: int) -> Arrays:
    return simulation.truncation(first, *_posed(task, count, 0))


def _with_truncation(infinite: Infinite, task: TheoryTask) -> Infinite:
    """Once there are neurons enough; from the first simulation."""
    first = simulation.Large({name: a[0] for name, a in infinite.each.items()}, infinite.bases, infinite.equations)
    return infinite._replace(truncation=_truncation(first, task, infinite.neurons))


def simulation_numbers(task: TheoryTask, equations: FieldEquations, count: int) -> int:
    """About how many numbers a simulation holds."""
    # In gradient flow, what is known of the matrices goes from level to level: there it is before and after a pass.
    copies = 2 if task.plan.tolerance is None else 4
    return count * task.site_numbers + copies * capacity.numbers(equations.matrices, count)


def _enlarged(each: list[FieldEquations]) -> FieldEquations:
    """Equations with capacities for the bases of all, which resolve as closely as any."""
    sides = np.max([[m.capacities for m in equations.matrices] for equations in each], axis=0)
    enlarged = each[0].with_capacities(tuple((int(ahead), int(back)) for ahead, back in sides))
    return enlarged.learning(min(float(equations.learned) for equations in each))


def fitting(equations: FieldEquations, bases: capacity.Bases) -> FieldEquations:
    """The same equations with no more room than bases took, and a little."""
    return equations.with_capacities(capacity.fitted(equations.matrices, bases))


def _flops(equations: FieldEquations) -> int:
    """Of random matrices, per neuron and step, about: three products of vectors with every basis."""
    return sum(6 * sum(matrix.blocks) * sum(matrix.capacities) for matrix in equations.matrices)


def large(task: TheoryTask, equations: FieldEquations, count: int, replicate: int) -> simulation.Large | Crowded:
    return simulation.infinite_width(equations, *_posed(task, count, replicate))


def _posed(task: TheoryTask, count: int, replicate: int) -> tuple[Any, TrainingSignal, Observing]:
    """What a simulation is made of besides the equations."""

    def draw(equations: FieldEquations) -> Noise:
        return noise_of(equations, count, task.spec.seed, replicate)

    return draw, task.training(), task.observing()


def noise_of(equations: FieldEquations, count: int, seed: int, replicate: int) -> Noise:
    """Random numbers of a simulation with so many neurons."""
    alike = like_a_network(equations, count)
    each, even = (neurons.shares(equations.populations, count), 0) if alike else (count, neurons.EVEN)
    noise = neurons.sample(equations.populations, equations.supplies, each, seed, replicate, even)
    return {name: jnp.asarray(a) for name, a in noise.items()}


def like_a_network(equations: FieldEquations, count: int) -> bool:
    """Whether populations have neurons in proportion to their widths, and images of vectors independent numbers.

    count: neurons of the widest population. Then the law of a simulation is that of a network, so that q is off by
    b / N of one as wide. Otherwise populations have as many neurons each, and Sobol points, whose errors are smaller.
    But among k images some are more even than others, or belong to a population of another width, so what is projected
    out of a new image and what is revealed of it no longer have the same size: q is off by a part of k / S, in all
    simulations alike. Where images are more than Sobol points serve (many points or positions, finite heads of many
    entries), that is more than the error of q.
    """
    leading = max((max(m.forward.leading, m.backward.leading) for m in equations.matrices), default=0)
    return leading > neurons.EVEN or leading * NEURONS_PER_IMAGE > count


def too_many_vectors(task: TheoryTask, crowded: Crowded) -> str:
    """What is wrong, and what helps."""
    return (
        f"random matrices act on too many independent vectors, {crowded.vectors} or more; expected at least "
        f"{capacity.NEURONS_PER_VECTOR} times as many sample neurons: raise theory.neurons (tried: "
        f"{task.spec.neurons or TRIED}) or theory.basis_tolerance ({task.spec.basis_tolerance:g})"
    )


def check_finite(prediction: Float[np.ndarray, "time point output"], times: Int[np.ndarray, " time"]) -> None:
    """Raise ComputationError naming the first saved step with predictions that are not finite."""
    finite = np.isfinite(prediction).all(axis=(1, 2))
    if not finite.all():
        raise ComputationError(
            f"training diverged at infinite width: predictions are not finite at step {times[np.argmin(finite)]}; "
            "expected finite predictions: lower optimizer.learning_rate or parameterization.gamma0"
        )
