"""Try many random experiments: `python tests/random_experiments.py --count 300 [--seed S] [--symmetries N]`.

Half of `--count` are valid and must run or be refused with a reason, half have one thing broken and must be refused.
`--symmetries`: so many further ones are computed together with each of their exact twins (`symmetries`). Prints what
became of them, and every experiment that failed as YAML. A hundred valid ones take about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("FWDMFT_COMPILATION_CACHE", "off")

import jax
from hypothesis import HealthCheck, Phase, given, seed, settings
from promises import outcome_of_invalid, outcome_of_valid
from strategies import Trial, invalid, valid
from symmetries import outcome_of_twins, regular

Outcome = Callable[[Trial, Path], str]
FAILED = "FAILED"
CLEARED = 16
"""Experiments after which compiled programs are forgotten; no two have the same shapes."""


def attempt(strategy: Any, outcome: Outcome, count: int, number: int) -> int:
    """Try `count` experiments, print those that fail and the counts; the number of failures."""
    counts: Counter[str] = Counter()
    slowest, began = 0.0, time.monotonic()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(trial: Trial) -> None:
        nonlocal slowest
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            try:
                became = outcome(trial, Path(folder))
            except Exception as error:
                became = FAILED
                told = f"{type(error).__name__}: {error}".replace("\n", "\n# ")
                print(f"---\n# {told}\n{trial}", flush=True)
        counts[became] += 1
        slowest = max(slowest, time.process_time() - start)
        if sum(counts.values()) % CLEARED == 0:
            jax.clear_caches()

    each()
    took = time.monotonic() - began
    print(f"{outcome.__name__}: {sum(counts.values())} experiments, {took:.0f} s, the slowest {slowest:.0f} s")
    for became, times in counts.most_common():
        print(f"  {times:5d}  {became}")
    return counts[FAILED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=0, help="random experiments, valid and invalid")
    parser.add_argument("--symmetries", type=int, default=0, help="random experiments with all their twins")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    jobs = (
        (valid(), outcome_of_valid, (given.count + 1) // 2),
        (invalid(), outcome_of_invalid, given.count // 2),
        (regular(), outcome_of_twins, given.symmetries),
    )
    failed = sum(attempt(strategy, outcome, count, given.seed) for strategy, outcome, count in jobs if count)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
