"""Try many random experiments: `tests/random_experiments.py --count 300 --symmetries 100 --jobs 16 --minutes 16`.

Half of `--count` are valid and must run or be refused with a reason, half have one thing broken and must be refused.
`--symmetries`: so many further ones are computed together with each of their exact twins (`symmetries`). Prints what
became of them (on standard error what did so far), and every experiment that failed as YAML. The same seed tries the
same ones, whatever the jobs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import conftest  # noqa: F401 (compiles cheaply, as tests do, and before JAX is imported)
import jax
from broken_experiments import invalid
from hypothesis import HealthCheck, Phase, given, seed, settings
from promises import outcome_of_invalid, outcome_of_valid
from strategies import Trial, valid
from symmetries import outcome_of_twins, regular

from fwdmft.machine import thread_limits

KINDS: dict[str, tuple[Callable[[], Any], Callable[[Trial, Path], str]]] = {
    "symmetric": (regular, outcome_of_twins),
    "valid": (valid, outcome_of_valid),
    "invalid": (invalid, outcome_of_invalid),
}
"""Experiments, and what becomes of one; those that take longest first."""

TOGETHER = {"symmetric": 3, "valid": 5, "invalid": 50}
"""Experiments that a process tries in a row, from one seed."""

FAILED, LATE = "FAILED", "not tried, for lack of time"
DIED = "FAILED (in so many processes, as one of them died)"


@dataclass
class Outcomes:
    """How many of the experiments became what; those that failed, as YAML; processor seconds of the slowest."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0

    def add(self, other: Outcomes) -> None:
        self.counts.update(other.counts)
        self.failures += other.failures
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)


def attempt(kind: str, count: int, number: int, end: float) -> Outcomes:
    """Try so many experiments of a seed, until the clock shows `end`."""
    strategy, outcome = KINDS[kind]
    actual, first = Outcomes(kind), True

    @seed(number)
    @settings(
        max_examples=count + 1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy())
    def each(trial: Trial) -> None:
        nonlocal first
        if first:  # the simplest of all, whatever the seed
            first = False
        elif time.time() > end:
            actual.counts[LATE] += 1
        else:
            _try(trial, outcome, actual)

    each()
    jax.clear_caches()
    return actual


def _try(trial: Trial, outcome: Callable[[Trial, Path], str], actual: Outcomes) -> None:
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        try:
            became = outcome(trial, Path(folder))
        except Exception as error:
            became = FAILED
            reason = f"{type(error).__name__}: {error}".replace("\n", "\n# ")
            actual.failures.append(f"---\n# {reason}\n{trial}")
    took = time.process_time() - start
    actual.counts[became] += 1
    actual.seconds, actual.slowest = actual.seconds + took, max(actual.slowest, took)


def attempts(wanted: dict[str, int], number: int, jobs: int, minutes: float) -> dict[str, Outcomes]:
    """Of every kind, in processes that keep one processor busy each and share what they compile."""
    end, whole = time.time() + 60 * minutes, {kind: Outcomes(kind) for kind in KINDS if wanted[kind]}
    with tempfile.TemporaryDirectory() as compiled:
        os.environ |= thread_limits(1) | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": compiled,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            pending: dict[Future[Outcomes], str] = {}
            for kind in whole:
                for start in range(0, wanted[kind], TOGETHER[kind]):
                    count = min(TOGETHER[kind], wanted[kind] - start)
                    pending[pool.submit(attempt, kind, count, 10**6 * number + start, end)] = kind
            for done in as_completed(pending):
                try:
                    actual = done.result()
                except BrokenProcessPool:
                    whole[pending[done]].counts[DIED] += 1
                    continue
                for failure in actual.failures:
                    print(failure, flush=True)
                whole[actual.kind].add(actual)
                print(summary(whole[actual.kind]), file=sys.stderr, flush=True)
    return whole


def summary(outcomes: Outcomes) -> str:
    """Counts, so far."""
    seconds = f"{outcomes.seconds:.0f} processor seconds, the slowest {outcomes.slowest:.0f}"
    became = [f"{times:5d}  {became}" for became, times in outcomes.counts.most_common()]
    return "\n  ".join([f"{outcomes.kind}: {outcomes.counts.total()}, {seconds}", *became])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=0, help="random experiments, valid and invalid")
    parser.add_argument("--symmetries", type=int, default=0, help="random experiments with all their twins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no experiment after so many")
    given = parser.parse_args()
    wanted = {"symmetric": given.symmetries, "valid": (given.count + 1) // 2, "invalid": given.count // 2}
    actual = attempts(wanted, given.seed, given.jobs, given.minutes)
    for each in actual.values():
        print(summary(each))
    sys.exit(any(each.counts[FAILED] or each.counts[DIED] for each in actual.values()))


if __name__ == "__main__":
    main()
