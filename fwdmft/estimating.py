"""What a run will take, foreseen from a short pilot.

The pilot calls the functions that a run calls, with few neurons, draws and networks, and where training is long with
its first steps alone. Everything is called twice: the first call compiles, the second does not. Seconds are scaled to
the neurons, draws, networks and steps of the run; how many of them a stated error asks for follows from the errors
that the pilot reaches, by the rules that the run goes by.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from fwdmft.corrections import from_response
from fwdmft.corrections.finite_width import PILOT, FiniteWidth, most_draws, needed
from fwdmft.corrections.from_draws import drawn
from fwdmft.engine import infinite_width as large
from fwdmft.engine.infinite_width import Infinite
from fwdmft.engine.problem import TheoryTask
from fwdmft.engine.step_halving import gradient_flow_ladders
from fwdmft.experiment.halves import EnsembleSpec
from fwdmft.experiment.model import Experiment
from fwdmft.in_order import in_order
from fwdmft.machine import available_memory, peak_memory
from fwdmft.networks.ensemble import CONCURRENT, chunk_size, member_operations
from fwdmft.networks.tally import Tally
from fwdmft.networks.task_statistics import grouped
from fwdmft.networks.training import Task, compiled_trainer
from fwdmft.optimization import Plan, RichardsonLevel
from fwdmft.preparing import prepare
from fwdmft.resources import MOST_EXPECTED, Sizes, ensemble_bytes, theory_bytes
from fwdmft.theory import resolved, responses

Clock = Callable[[], float]
Ladder = tuple[RichardsonLevel, ...]
Result = TypeVar("Result")

OPERATIONS, OF_NETWORKS = 5e10, 1e10
"""Of a pilot of the theory and of one of networks, about: some seconds. Bases have to grow as they will."""

OF_A_SOURCE = 20_000
"""The same of the linear response, to all of its sources."""

FALLING = 0.75
"""Power of the number of neurons that errors of q fall with, about: between independent and equally spaced ones."""

OF_A_FIELD = 40
"""Operations per neuron, step and number that a field is made of, about."""


@dataclass(frozen=True)
class Part:
    """A part of a run: seconds that it computes for, and that its programs are compiled for before."""

    name: str
    seconds: float
    compiling: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take, by the names that its diagnostics have.

    name: of the experiment.
    neurons: sample neurons of a large simulation, None without theory, or where q comes from draws.
    basis_rank: vectors in the bases of random matrices in the pilot, forward and backward side of each.
    draws, draw_width: number and width of small networks, None where there are none.
    response_neurons: neurons of the linear response, None where there is none.
    parts: where the time goes, in the order of the run.
    peak_memory_bytes: most that the process holds at once.
    pilot_seconds: what the estimate took.
    """

    name: str
    neurons: int | None
    basis_rank: tuple[int, ...]
    draws: int | None
    draw_width: int | None
    response_neurons: int | None
    parts: tuple[Part, ...]
    peak_memory_bytes: int
    pilot_seconds: float

    @property
    def seconds(self) -> float:
        """In all, compiling included."""
        return sum(part.seconds + part.compiling for part in self.parts)

    @property
    def seconds_compiling(self) -> float:
        """What a run saves whose programs were kept from an earlier one."""
        return sum(part.compiling for part in self.parts)


def estimate(experiment: Experiment, clock: Clock = time.perf_counter, force: bool = False) -> Estimate:
    """Foresee what `run` takes on this machine, from a pilot of some seconds to a tenth of a long run.

    experiment: of `load_experiment`. clock: gives seconds; what it counts is what is foreseen: real time, or that of
    processors (`time.process_time`). force: make the pilot even of a run that would be refused for want of memory.
    Returns the numbers of neurons and draws, memory in bytes and the seconds of each part, see `Estimate`. Programs are
    taken to be compiled anew.
    Raises InputError for data or settings that do not fit, as `run` does, ComputationError when training diverges in
    the pilot.
    """
    start = clock()
    prepared = prepare(experiment)
    prepared.check_memory(force)
    foreseen = Foreseen([Part("preparing", clock() - start)], prepared.plan.ladder)
    with jax.debug_nans(False), jax.debug_infs(False):
        if prepared.theory is not None:
            with jax.enable_x64(True):
                _theory(prepared.theory, experiment.theory is not None, clock, foreseen)
        if experiment.ensemble and prepared.ensemble:
            task = replace(prepared.ensemble, plan=prepared.plan.on_ladder(foreseen.ladder))
            _ensembles(task, experiment.ensemble, clock, foreseen)
    return Estimate(
        experiment.name,
        foreseen.sizes.neurons,
        foreseen.basis_rank,
        foreseen.draws,
        foreseen.sizes.draw_width,
        foreseen.response_neurons,
        tuple(foreseen.parts),
        peak_memory() + foreseen.more_bytes,
        clock() - start,
    )


def rehearsed(work: Callable[[], Result], clock: Clock) -> tuple[Result, float, float]:
    """What the work gives, its seconds, and those of compiling for it."""
    start = clock()
    outcome = work()
    middle = clock()
    work()
    again = clock() - middle
    return outcome, again, max(0.0, middle - start - again)


def first_steps(plan: Plan, save_every: int, step: float, saved: float, most: float) -> tuple[Plan, int, float]:
    """A plan of the first steps, how often it saves, and how many times more work the whole is.

    step, saved: operations of a step and of a saved time. most: of the pilot. Two saved times are the least, as often
    as in the whole unless that is too much: measuring can cost more than many steps.
    """
    whole = plan.steps * step + len(plan.saved(save_every)) * saved
    every = min(save_every, max(2, int(most / step)))
    intervals = max(2 if every > 1 else 4, int(most / (every * step + saved)))
    count = (intervals - 1) * every + 1
    if whole <= most or plan.steps <= count:
        return plan, save_every, 1.0
    batches = None if plan.batches is None else plan.batches[:count]
    few = replace(plan, learning_rates=plan.learning_rates[:count], batches=batches)
    return few, every, whole / (count * step + intervals * saved)


# --- theory ---


@dataclass
class Foreseen:
    """What the pilot has told so far. ladder: of draws and networks. more_bytes: than the pilot itself has taken."""

    parts: list[Part]
    ladder: Ladder
    sizes: Sizes = MOST_EXPECTED
    basis_rank: tuple[int, ...] = ()
    draws: int | None = None
    response_neurons: int | None = None
    more_bytes: int = 0


def _quiet(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def _changed(task: TheoryTask, **changes: Any) -> TheoryTask:
    return replace(task, spec=task.spec.model_copy(update=changes))


def _theory(task: TheoryTask, wanted: bool, clock: Clock, foreseen: Foreseen) -> None:
    """wanted: whether more is asked for than the ladder of networks."""
    spec = task.spec
    task = replace(task, equations=task.equations.resolving(spec.basis_tolerance))
    together = 2 * spec.replicates * large.FEWEST
    saved = sum(a.size for a in task.observed.values()) / len(task.times)
    plan, every, longer = first_steps(task.plan, spec.save_every, _per_step(task), saved, OPERATIONS / together)
    short = replace(_changed(task, save_every=every), plan=plan)
    steps, seconds, compiling = rehearsed(lambda: gradient_flow_ladders(short), clock)
    foreseen.ladder = steps.coarse
    if plan.tolerance is not None:
        foreseen.parts.append(Part("steps of gradient flow", longer * seconds, compiling))
    if not wanted:
        return
    infinite = _large_simulations(short.on_ladder(steps.fine), longer, clock, foreseen)
    neurons = foreseen.sizes.neurons or 0
    if infinite is not None:
        task, short = resolved(task, infinite), resolved(short, infinite)
        if spec.responses:
            count = min(infinite.neurons, large.FEWEST)
            _, seconds, compiling = rehearsed(lambda: responses(short, count, _quiet), clock)
            foreseen.parts.append(Part("response functions", longer**3 * seconds * neurons / count, compiling))
    pilot = foreseen.sizes._replace(neurons=infinite and infinite.neurons)
    if spec.fluctuations or spec.bias or infinite is None:
        if infinite is not None and from_response.has_response(task.on_ladder(foreseen.ladder)):
            few = _linear_response(task.on_ladder(foreseen.ladder), clock, foreseen)
            pilot = pilot._replace(response_neurons=few)
        else:
            _draws(short.on_ladder(foreseen.ladder), infinite, longer, clock, foreseen)
            pilot = pilot._replace(draw_width=foreseen.sizes.draw_width)
    foreseen.more_bytes = max(0, theory_bytes(task, foreseen.sizes) - theory_bytes(short, pilot))


def _per_step(task: TheoryTask) -> float:
    """Operations per neuron and step, about."""
    matrices = sum(6 * sum(matrix.blocks) * sum(matrix.capacities) for matrix in task.equations.matrices)
    return OF_A_FIELD * task.site_numbers + matrices


def _large_simulations(short: TheoryTask, longer: float, clock: Clock, foreseen: Foreseen) -> Infinite | None:
    """Those of the pilot; None if bases are too large."""
    spec, name = short.spec, "infinite width"
    if spec.neurons is None and large.too_large_at_first(short):
        return None
    fitting = OPERATIONS / (spec.replicates * short.plan.steps * _per_step(short))
    updates = round(longer * short.updates)
    first = spec.neurons or large.first_try(large.affordable(short, short.at_infinite_width, updates))
    count, most = first, spec.neurons or large.TRIED
    while count > max(fitting, large.FEWEST):
        count //= 2
    while True:
        task = _changed(short, neurons=count)
        infinite, seconds, compiling = rehearsed(partial(large.infinite_width, task, _quiet), clock)
        if isinstance(infinite, Infinite) or count >= most:
            break
        count = min(4 * count, most)
    if not isinstance(infinite, Infinite):
        foreseen.parts.append(Part(name, longer * seconds, compiling))
        return None
    # Neurons at which the bases of the pilot found room.
    first, excess = max(first, count), large.excess_error(short, infinite)
    cheap = large.affordable(short, infinite.equations, updates)
    falling = (count / first) ** FALLING
    excess = large.Excess(excess.wished * falling, excess.needed * falling)
    rounds = _rounds(first, excess, large.most_neurons(short), cheap)
    rounds = [spec.neurons] if spec.neurons else rounds
    programs = len(rounds) + _growths(short, infinite)
    compiling *= programs / (programs - len(rounds) + 1)
    foreseen.parts.append(Part(name, longer * seconds * sum(rounds) / count, compiling))
    foreseen.sizes = Sizes(rounds[-1], tuple(matrix.capacities for matrix in infinite.equations.matrices))
    foreseen.basis_rank = tuple(int(each) for each in infinite.bases.rank)
    return infinite


def _rounds(count: int, excess: large.Excess, most: int, affordable: int) -> list[int]:
    """Neurons of the simulations of each round, if the first has this excess of its error."""
    rounds = [count]
    while (more := min(large.next_try(rounds[-1], excess, affordable), most)) > rounds[-1]:
        falling = (rounds[-1] / more) ** FALLING
        excess = large.Excess(excess.wished * falling, excess.needed * falling)
        rounds.append(more)
    return rounds


def _growths(task: TheoryTask, infinite: Infinite) -> int:
    """How often bases were given more room, about."""
    before, after = (
        np.array([matrix.capacities for matrix in equations.matrices], float)
        for equations in (task.equations, infinite.equations)
    )
    if not before.size:
        return 0
    return int(np.ceil(np.log(max(1.0, np.max(after / before))) / np.log(large.capacity.GROWTH)))


def _linear_response(task: TheoryTask, clock: Clock, foreseen: Foreseen) -> int:
    """Neurons of the pilot."""
    spec = task.spec
    count = spec.neurons or from_response.first_try(task)
    fitting = OPERATIONS / (from_response.SAMPLINGS * task.plan.steps * OF_A_SOURCE * task.site_numbers)
    few = count
    while few > max(fitting, from_response.FEWEST):
        few //= 2
    pilot = _changed(task, neurons=few)
    corrections, seconds, compiling = rehearsed(lambda: from_response.from_response(pilot, _quiet), clock)
    variance, bias = (
        corrections.diagnostics[f"relative_error_{name}"] * (few / count) ** 0.5 for name in ("variance", "bias")
    )
    neurons = count * from_response.enough(task, count, 1, variance, bias)
    foreseen.parts.append(Part("linear response", seconds * neurons / few, compiling))
    foreseen.sizes = foreseen.sizes._replace(response_neurons=count)
    foreseen.response_neurons = neurons
    return few


def _draws(short: TheoryTask, infinite: Infinite | None, longer: float, clock: Clock, foreseen: Foreseen) -> None:
    spec = short.spec

    def small(draws: int, width: int | None) -> FiniteWidth:
        return drawn(_changed(short, draws=draws, draw_width=width), infinite, _quiet, None)

    few, start = min(spec.draws or PILOT, PILOT), clock()
    width = small(few, spec.draw_width).width
    middle = clock()
    outcome = small(few, width)
    seconds = clock() - middle
    draws = spec.draws or max(outcome.draws, min(needed(outcome), most_draws(width)))
    compiling = max(0.0, middle - start - seconds)
    foreseen.parts.append(Part("draws", longer * seconds * draws / outcome.draws, compiling))
    foreseen.draws, foreseen.sizes = draws, foreseen.sizes._replace(draw_width=width)


# --- ensembles ---


def _ensembles(task: Task, spec: EnsembleSpec, clock: Clock, foreseen: Foreseen) -> None:
    """Measured at the narrowest and the widest width; between them as a power of the width."""
    sizes = dict(zip(spec.widths, spec.members_per_width(), strict=True))
    ends = sorted({min(sizes), max(sizes)})
    with jax.enable_x64(spec.precision == "float64"):
        measured = [_networks(task, width, sizes[width], clock, foreseen) for width in ends]
    logs = np.log(np.maximum(measured, 1e-9))
    for width, members in sizes.items():
        each, compiling = (float(np.exp(np.interp(np.log(width), np.log(ends), column))) for column in logs.T)
        foreseen.parts.append(Part(f"width {width}", each * members, compiling))


def _networks(task: Task, width: int, members: int, clock: Clock, foreseen: Foreseen) -> tuple[float, float]:
    """Seconds per network, and of compiling."""
    chunk = chunk_size(task, width, members)
    costs, most = member_operations(task, width), OF_NETWORKS / (CONCURRENT * chunk)
    plan, every, longer = first_steps(task.plan, task.save_every, *costs, most)
    short = replace(task, plan=plan, save_every=every)
    more = ensemble_bytes(task, width, members) - ensemble_bytes(short, width, members)
    foreseen.more_bytes = max(foreseen.more_bytes, more)
    keys = jax.random.split(jax.random.key(0), chunk)
    start = clock()
    train = compiled_trainer(short, width, keys)
    middle = clock()
    tally = Tally(chunk, members, 0)
    for seen in in_order(lambda keys: jax.tree.map(np.asarray, train(keys)), [keys] * CONCURRENT, CONCURRENT):
        tally.add(seen, grouped(short, seen))
    return longer * (clock() - middle) / (CONCURRENT * chunk), middle - start


# --- what is shown ---


def as_mapping(estimate: Estimate) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(estimate) | {"seconds": estimate.seconds, "seconds_compiling": estimate.seconds_compiling}


def table(estimate: Estimate) -> RenderableType:
    """For a rich console."""
    rows = Table("part", "seconds", "compiling", title=estimate.name, title_justify="left")
    for part in estimate.parts:
        rows.add_row(part.name, f"{part.seconds:.1f}", f"{part.compiling:.1f}")
    computing = estimate.seconds - estimate.seconds_compiling
    rows.add_row("in all", f"{computing:.1f}", f"{estimate.seconds_compiling:.1f}", style="bold")
    rank, gib = ", ".join(map(str, estimate.basis_rank)), 2**30
    words = {
        "neurons of a large simulation": estimate.neurons,
        "vectors in bases of random matrices": rank or None,
        "neurons of the linear response": estimate.response_neurons,
        "draws": estimate.draws and f"{estimate.draws} of width {estimate.draw_width}",
        "peak memory": f"{estimate.peak_memory_bytes / gib:.2f} GiB of {available_memory() / gib:.1f} GiB available",
        "pilot": f"{estimate.pilot_seconds:.1f} seconds",
    }
    return Group(rows, *(f"{name}: {value}" for name, value in words.items() if value is not None), READING)


READING = (
    "Seconds within a factor of two, on this machine as busy as it is now. Where compiled programs were kept from an\n"
    "earlier run, compiling takes none."
)
