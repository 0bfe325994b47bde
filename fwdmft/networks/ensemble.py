"""Ensembles of finite networks: members in chunks that fit in memory, statistics streamed."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fwdmft.checkpoint import Checkpoint
from fwdmft.errors import ComputationError, FwdmftWarning
from fwdmft.executors import SideBySide, Work
from fwdmft.in_order import PROCESSORS, THREADS, devices
from fwdmft.jackknife import Jackknifed
from fwdmft.networks.model import Quantities, activations
from fwdmft.networks.statistics import GroupSums
from fwdmft.networks.tally import GROUPS, Tally
from fwdmft.networks.task_statistics import Observed, grouped, task_statistics
from fwdmft.networks.training import EVALUATED, Task, compiled_trainer, trainer_on_devices

MEMORY = 1 << 30
"""Bytes that `PIECES` chunks of members may take together, about."""

PIECES = 16
"""Chunks that members are dealt to at least, so that so many processors are busy. It does not depend on how many there
are: sums over members are sums over chunks, and shall have the same bits everywhere."""

CONCURRENT = PROCESSORS
"""Chunks trained at once: the arrays of one keep a single processor busy."""


Arrays = dict[str, Float[np.ndarray, "..."]]
"""By observable (time, ...), and "final_prediction" (point, output); metrics such as "loss" (time, split)."""


@dataclass(frozen=True)
class WidthStatistics:
    """An ensemble at one width.

    diverged: members whose predictions did not stay finite; they are left out of the statistics.
    sample_prediction: (sample, time, point, output), the first members one by one; None if only the last is kept.
    jackknifed: statistics of a task, as of `fwdmft.networks.task_statistics`. traces: (member, time, split) metrics.
    kernel_points: positions of the points that kernels were measured on, None for all of them. third_moment: central.
    groups: what `jackknifed` comes from.
    """

    width: int
    members: int
    diverged: int
    times: Int[np.ndarray, " time"]
    mean: Arrays
    variance: Arrays
    mean_standard_error: Arrays
    variance_standard_error: Arrays
    third_moment: Arrays
    sample_prediction: Float[np.ndarray, "sample time point output"] | None
    seconds: float
    jackknifed: dict[str, Jackknifed] = field(default_factory=dict)
    traces: dict[str, Float[np.ndarray, "_member time split"]] = field(default_factory=dict)
    kernel_points: Int[np.ndarray, " kernel_point"] | None = None
    groups: dict[str, GroupSums] = field(default_factory=dict)


def train_ensemble(
    task: Task,
    width: int,
    members: int,
    seed: int,
    samples: int,
    progress: Callable[[int], None] = lambda done: None,
    checkpoint: Checkpoint | None = None,
    diverged_share: float = 0.0,
    side_by_side: SideBySide = THREADS,
) -> WidthStatistics:
    """Train `members` networks of one width and summarise them.

    Member m's weights depend on (seed, width, m) alone, not on the number of members or the size of chunks.
    With a checkpoint, members that it already has are not trained again, and the statistics are those of an
    uninterrupted run to the last bit. Members that diverge are left out, with a warning: what remains is no random
    choice, so ComputationError is raised, at once, when they are more than `diverged_share` of all, or fewer than two
    stay finite. side_by_side: where chunks of members are trained; the statistics do not depend on it.
    """
    stored = None if checkpoint is None else checkpoint.load(f"width-{width}")
    tally = Tally(chunk_size(task, width, members), members, samples) if stored is None else Tally.of(stored)
    start = time.perf_counter() - tally.seconds
    for seen in _chunks(task, width, members, seed, tally, side_by_side):
        tally.add(seen, grouped(task, seen))
        tally.seconds = time.perf_counter() - start
        if checkpoint is not None:
            checkpoint.offer(f"width-{width}", tally.arrays)
        _check_diverged(tally, width, diverged_share)
        progress(tally.done)
    if tally.diverged:
        warnings.warn(f"{_diverged(tally, width)} and are left out of all averages", FwdmftWarning, stacklevel=2)
    return statistics_of(task, tally, width)


def _check_diverged(tally: Tally, width: int, share: float) -> None:
    if tally.diverged > share * tally.members or tally.diverged > tally.members - 2:
        raise ComputationError(
            f"{_diverged(tally, width)}; expected at most a share of {share:g} (ensemble.diverged_share), and two that "
            "do not: averages over the others would be biased. Lower optimizer.learning_rate"
        )


def _diverged(tally: Tally, width: int) -> str:
    first = "" if tally.done == tally.members else "the first "
    return f"{tally.diverged} of {first}{tally.done} networks of width {width} diverged"


def statistics_of(task: Observed, tally: Tally, width: int) -> WidthStatistics:
    """What is known of the networks of one width once all are tallied."""
    moments = tally.moments
    return WidthStatistics(
        width=width,
        members=tally.done,
        diverged=tally.diverged,
        times=task.times,
        mean={name: m.mean for name, m in moments.items()},
        variance={name: m.variance for name, m in moments.items()},
        mean_standard_error={name: m.mean_standard_error for name, m in moments.items()},
        variance_standard_error={name: m.variance_standard_error for name, m in moments.items()},
        third_moment={name: m.third_moment for name, m in moments.items()},
        sample_prediction=np.concatenate(tally.kept).astype(np.float64) if tally.kept else None,
        seconds=tally.seconds,
        jackknifed=task_statistics(task, tally.groups),
        traces={name: np.concatenate(parts) for name, parts in tally.traces.items()},
        kernel_points=None if task.kernel_points is None else task.kernel_at,
        groups=tally.groups,
    )


def _chunks(
    task: Task, width: int, members: int, seed: int, tally: Tally, side_by_side: SideBySide = THREADS
) -> Iterator[dict[str, Float[np.ndarray, "member ..."]]]:
    """Observables (member, time, ...) of the members that the tally lacks, in order, a chunk at a time."""
    starts = range(tally.done, members, tally.chunk)
    if not starts:
        return
    together = side_by_side.devices
    pieces = [tuple(starts[i : i + together]) for i in range(0, len(starts), together)]
    recipe = partial(_training, task, width, seed, tally.chunk)
    for piece, trained in zip(pieces, side_by_side(Work(recipe, pieces, workers=CONCURRENT)), strict=True):
        # The last chunk is filled up with members that are not counted, to reuse the compiled program.
        for first, seen in zip(piece, trained, strict=True):
            yield {name: a[: members - first] for name, a in seen.items()}


def _training(
    task: Task, width: int, seed: int, chunk: int
) -> Callable[[Sequence[int]], list[dict[str, Float[np.ndarray, "member ..."]]]]:
    """Makes the training of chunks, told by their first members, each device with one at a time."""
    root, present = jax.random.fold_in(jax.random.key(seed), width), devices()

    def keys(first: int) -> Key[Array, " member"]:
        return jax.vmap(lambda m: jax.random.fold_in(root, m))(np.arange(first, first + chunk))

    if len(present) == 1:
        alone = compiled_trainer(task, width, keys(0))
        return lambda firsts: [_numpy(alone(keys(first))) for first in firsts]
    spread = trainer_on_devices(task, width, jnp.stack([keys(0)] * len(present)), present)

    def train(firsts: Sequence[int]) -> list[dict[str, Float[np.ndarray, "member ..."]]]:
        members = []
        for begin in range(0, len(firsts), len(present)):
            some = list(firsts[begin : begin + len(present)])
            filled = some + some[-1:] * (len(present) - len(some))
            seen = _numpy(spread(jnp.stack([keys(first) for first in filled])))
            members += [{name: a[i] for name, a in seen.items()} for i in range(len(some))]
        return members

    return train


def _numpy(arrays: Quantities) -> Arrays:
    return {name: np.asarray(a) for name, a in arrays.items()}


def chunk_size(task: Task, width: int, members: int) -> int:
    """Members per chunk: as many as fit into `MEMORY`, at most 64, and few enough for `PIECES` chunks."""
    fitting = MEMORY // PIECES // member_bytes(task, width)
    return int(np.clip(fitting, 1, min(-(-members // PIECES), 64)))


def member_bytes(task: Task, width: int) -> int:
    """Estimated bytes one member takes: parameters and velocity, activations, Jacobian, what is saved."""
    parameters, neurons = _parameters_and_neurons(task, width)
    points, outputs = task.y.shape
    trained = _trained_at_once(task)
    active = _ACTIVATIONS * max(trained, min(points, EVALUATED)) * neurons
    jacobian = len(task.kernel_at) * outputs * (parameters + neurons) if task.kernels else 0
    numbers = 5 * parameters + 2 * jacobian + active + _saved(task, width)
    return numbers * np.dtype(task.dtype).itemsize


def _parameters_and_neurons(task: Task, width: int) -> tuple[int, int]:
    """Of one network; neurons in all layers and at all positions, inputs included."""
    model = eqx.filter_eval_shape(task.build, width, jax.random.key(0))
    parameters = sum(a.size for a in jax.tree.leaves(model) if hasattr(a, "size"))
    point = jax.ShapeDtypeStruct(task.x.shape[1:], task.dtype)
    return parameters, activations(partial(task.build, width), point) + task.x[0].size


def _trained_at_once(task: Task) -> int:
    """Points that a step trains on."""
    return int(task.train.sum()) if task.plan.batches is None else task.plan.batches.shape[1]


def member_operations(task: Task, width: int) -> tuple[float, float]:
    """Operations of one network, about: of a step, and of measuring at a saved time."""
    parameters, neurons = _parameters_and_neurons(task, width)
    of_a_point = 6.0 * parameters * max(1, neurons // width)
    shown = len(task.kernel_at) * task.y.shape[1] if task.kernels else 0
    return of_a_point * _trained_at_once(task), of_a_point * (len(task.y) + shown) + 2.0 * shown**2 * parameters


_ACTIVATIONS = 12
"""Numbers held per point and neuron while differentiating: shifted copies of a convolution, and the chain rule."""


def statistics_bytes(task: Task, width: int) -> int:
    """Estimated bytes of the sums over members: powers of what is saved, and groups of predictions and kernels."""
    predictions = task.y.size * (1 if task.final_only else len(task.times))
    trained = int(task.train[task.kernel_at].sum())
    kernels = len(task.times) * trained**2 if task.kernels else 0
    return 8 * (6 * _saved(task, width) + GROUPS * (predictions + kernels))


def _saved(task: Task, width: int) -> int:
    """Numbers of one member that are summed over members."""
    points, outputs = task.y.shape
    predictions = points * outputs * (1 if task.final_only else len(task.times))
    if not task.kernels:
        return predictions
    kernels = len(task.kernel_at) ** 2 * (2 * outputs**2 + 1)
    return predictions + len(task.times) * (kernels + points * _observed(task, width))


def _observed(task: Task, width: int) -> int:
    """Numbers that an architecture observes of one point."""
    if not task.observables:
        return 0
    build = eqx.filter_eval_shape(task.build, width, jax.random.key(0))
    point = jax.ShapeDtypeStruct(task.x.shape[1:], task.dtype)
    return sum(a.size for a in eqx.filter_eval_shape(lambda model, x: model.observables(x), build, point).values())
