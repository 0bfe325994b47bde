"""Ensembles of finite networks: members in chunks that fit in memory, statistics streamed."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from fwdmft.errors import ComputationError
from fwdmft.networks.statistics import Moments
from fwdmft.networks.training import Task, trainer

MEMORY = 1 << 30
"""Bytes that the members under way may take together, about."""

CONCURRENT = os.cpu_count() or 1
"""Chunks trained at once: the arrays of one keep a single processor busy."""


@dataclass(frozen=True)
class WidthStatistics:
    """An ensemble at one width; arrays (time, ...) as the observables, and "loss" (time, split).

    diverged: members whose predictions did not stay finite; they are left out of the statistics.
    sample_prediction: (sample, time, point, output), the first members one by one.
    """

    width: int
    members: int
    diverged: int
    times: np.ndarray
    mean: dict[str, np.ndarray]
    variance: dict[str, np.ndarray]
    mean_standard_error: dict[str, np.ndarray]
    variance_standard_error: dict[str, np.ndarray]
    sample_prediction: np.ndarray
    seconds: float


def train_ensemble(
    task: Task,
    width: int,
    members: int,
    seed: int,
    times: np.ndarray,
    samples: int,
    progress: Callable[[int], None] = lambda done: None,
) -> WidthStatistics:
    """Train `members` networks of one width and summarise them.

    Member m's weights depend on (seed, width, m) alone, not on the number of members or the size of chunks.
    Raises ComputationError when fewer than two members stay finite.
    """
    start = time.perf_counter()
    size = chunk_size(task, width, members)
    train = trainer(task, width)
    root = jax.random.fold_in(jax.random.key(seed), width)
    moments: dict[str, Moments] = {}
    kept: list[np.ndarray] = []
    diverged = 0
    # The last chunk is filled up with members that are not counted, to reuse the compiled program.
    starts = range(0, members, size)
    chunks = [jax.vmap(lambda m: jax.random.fold_in(root, m))(np.arange(i, i + size)) for i in starts]
    compiled = train.lower(chunks[0]).compile()
    with ThreadPoolExecutor(max_workers=CONCURRENT) as pool:
        # Results are taken in order, so that sums do not depend on which thread was faster.
        for first, seen in zip(starts, _in_order(pool, compiled, chunks), strict=True):
            seen = {name: a[: members - first] for name, a in seen.items()}
            finite = np.isfinite(seen["prediction"]).all(axis=(1, 2, 3))
            diverged += int(np.sum(~finite))
            for name, values in seen.items():
                moments.setdefault(name, Moments()).add(values[finite])
            kept.append(seen["prediction"][finite][: samples - sum(map(len, kept))])
            progress(min(first + size, members))
    if members - diverged < 2:
        raise ComputationError(
            f"{diverged} of {members} networks of width {width} diverged; expected training that converges: "
            "lower optimizer.learning_rate"
        )
    return WidthStatistics(
        width=width,
        members=members,
        diverged=diverged,
        times=times,
        mean={name: m.mean for name, m in moments.items()},
        variance={name: m.variance for name, m in moments.items()},
        mean_standard_error={name: m.mean_standard_error for name, m in moments.items()},
        variance_standard_error={name: m.variance_standard_error for name, m in moments.items()},
        sample_prediction=np.concatenate(kept).astype(np.float64),
        seconds=time.perf_counter() - start,
    )


def _in_order(pool: ThreadPoolExecutor, train: Callable, chunks: list[Array]) -> Iterator[dict[str, np.ndarray]]:
    """Observables of each chunk in turn, with no more than `CONCURRENT` chunks under way or waiting."""

    def observables(keys: Array) -> dict[str, np.ndarray]:
        return {name: np.asarray(a) for name, a in train(keys).items()}

    waiting: deque[Future] = deque()
    for keys in chunks:
        waiting.append(pool.submit(observables, keys))
        if len(waiting) >= CONCURRENT:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def chunk_size(task: Task, width: int, members: int) -> int:
    """Members per chunk: as many as fit into `MEMORY`, at most 64, and few enough to keep every processor busy."""
    fitting = MEMORY // CONCURRENT // member_bytes(task, width)
    return int(np.clip(fitting, 1, min(-(-members // CONCURRENT), 64)))


def member_bytes(task: Task, width: int) -> int:
    """Estimated bytes one member takes: parameters and velocity, activations, Jacobian, saved kernels."""
    model = eqx.filter_eval_shape(task.build, width, jax.random.key(0))
    parameters = sum(a.size for a in jax.tree.leaves(model) if hasattr(a, "size"))
    points, outputs = task.y.shape
    saved = len(range(0, task.plan.steps, task.save_every)) + 1
    kernels = points**2 * (2 * outputs**2 + 1) if task.kernels else 0
    jacobian = points * outputs * parameters if task.kernels else 0
    numbers = (
        5 * parameters + 2 * jacobian + 8 * (points + task.plan.fresh) * width + saved * (points * outputs + kernels)
    )
    return numbers * np.dtype(task.dtype).itemsize
