"""Mutation testing of the theory: `python tests/mutants.py --jobs 16 --minutes 8 --output survivors.json`.

A mutant is the package with one small mistake (`mutations`). It is killed when a test that is meant for its file fails
(`TESTS`), or takes several times as long as without the mistake. A survivor is a mistake that these tests do not see:
it needs a test, or changes nothing that a test should see (a tuning constant, a shortcut). Mutants are a random sample
of all there are, the same for the same seed and source. Prints each survivor as soon as it is known, and counts in the
end; what is known is in the output file at any time.

Tests run in copies of the package; compiled programs that a mutant leaves alone come from a shared cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import conftest  # noqa: F401 (finds once how programs compile cheaply)
from mutations import Mutation, mutations

from fwdmft.machine import thread_limits

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("fwdmft", "plugins", "tests", "examples", "schemas", "pyproject.toml", "README.md", "docs")

SOURCES = ("fwdmft/engine", "fwdmft/program", "fwdmft/corrections")

CHEAP_LAWS = (
    "copying_neurons_changes_nothing",
    "small_targets_are_large_richness",
    "forward_predicts_what_is_observed",
    "a_step_without_residual_changes_nothing",
    "a_first_step_follows_the_tangent_kernel",
    "initial_kernels_do_not_depend_on_richness",
    "a_shorter_run_is_the_beginning_of_a_longer_one",
    "relabelling_points_relabels_results",
)


def kit(case: str, laws: tuple[str, ...] = CHEAP_LAWS) -> tuple[str, ...]:
    """Laws of `fwdmft.testing` for one architecture."""
    return tuple(f"tests/test_architectures.py::test_law[{case}-{law}]" for law in laws)


DEEP, IMAGES, TWO_LAYERS = kit("deep_residual"), kit("cnn_pooled"), kit("mlp_softplus_outputs")
LAZY = (*kit("mlp_linear_lazy"), *kit("mlp_softplus_outputs", ("small_richness_is_the_lazy_limit",)))
NETWORKS = kit("deep_residual", ("networks_of_draws_are_those_of_the_builder",))
EQUATIONS = (*TWO_LAYERS, *DEEP, *IMAGES, *NETWORKS)
CLOSED_FORMS = ("tests/physics/test_closed_forms.py",)
PROGRAMS = tuple(f"tests/test_{name}.py" for name in ("program", "program_errors"))
SYMMETRIES = ("tests/test_symmetries.py",)
KERNEL_POINTS = ("tests/test_kernel_points.py",)
ONLINE = ("tests/test_online.py",)
MATRICES = ("tests/test_gaussian_matrix.py", "tests/test_coupled_matrix.py", "tests/test_explicit_matrix.py")
NUMBERS_OF_NEURONS = ("tests/test_whole_neurons.py",)
DRAWS = (
    *("tests/test_sample_estimates.py", "tests/test_next_order.py", *NUMBERS_OF_NEURONS),
    *("tests/test_choice_of_draws.py", "tests/test_finite_width.py", "tests/test_rounding.py", *CLOSED_FORMS),
)
RESPONSE = ("tests/test_linear_response.py", "tests/test_from_response.py")
WHOLE = ("tests/test_finite_width.py", *SYMMETRIES, *CLOSED_FORMS, "tests/test_preparing.py")

TESTS: dict[str, tuple[str, ...]] = {
    "basis_matrix.py": (*MATRICES, *DEEP),
    "backward.py": (*PROGRAMS, *EQUATIONS),
    "blocks.py": (*PROGRAMS, *EQUATIONS),
    "building.py": (*PROGRAMS, *EQUATIONS),
    "curvature.py": RESPONSE,
    "declared.py": PROGRAMS,
    "drawing.py": DRAWS,
    "driven.py": RESPONSE,
    "dynamics.py": (*TWO_LAYERS, *DEEP, *ONLINE, *CLOSED_FORMS),
    "equations.py": (*PROGRAMS, *EQUATIONS, *ONLINE, *KERNEL_POINTS),
    "explicit_matrix.py": (*MATRICES, *NETWORKS),
    "field_equations.py": EQUATIONS,
    "finite.py": PROGRAMS,
    "finite_width.py": DRAWS,
    "from_draws.py": DRAWS,
    "from_response.py": RESPONSE,
    "gaussian_matrix.py": (*MATRICES, *DEEP),
    "infinite_width.py": (*KERNEL_POINTS, *WHOLE),
    "kernels.py": (*PROGRAMS, *EQUATIONS, *KERNEL_POINTS),
    "layout.py": DRAWS,
    "layer_sites.py": (*PROGRAMS, *EQUATIONS),
    "layers.py": (*RESPONSE, *DRAWS),
    "lazy.py": (*LAZY, *KERNEL_POINTS),
    "linear_response.py": RESPONSE,
    "locality.py": PROGRAMS,
    "net.py": (*PROGRAMS, *EQUATIONS),
    "neurons.py": (*NUMBERS_OF_NEURONS, *CLOSED_FORMS, *ONLINE),
    "next_order.py": DRAWS,
    "stencil.py": (*MATRICES, *PROGRAMS, *IMAGES),
    "orthonormalising.py": MATRICES,
    "perturbations.py": ("tests/physics/test_responses.py",),
    "places.py": ("tests/physics/test_responses.py",),
    "products.py": (*EQUATIONS, *ONLINE),
    "reading.py": (*PROGRAMS, *EQUATIONS),
    "response_functions.py": ("tests/physics/test_responses.py",),
    "coupled_matrix.py": ("tests/test_coupled_matrix.py", *NETWORKS),
    "capacity.py": (*WHOLE, *DEEP),
    "sample_estimates.py": DRAWS,
    "samples.py": (*NETWORKS, *DRAWS),
    "simulation.py": (*DEEP, *WHOLE),
    "sites.py": (*PROGRAMS, *EQUATIONS, *KERNEL_POINTS),
    "sobol_errors.py": ("tests/test_sobol_errors.py",),
    "state.py": (*PROGRAMS, *EQUATIONS),
    "structure.py": PROGRAMS,
    "problem.py": (*KERNEL_POINTS, *WHOLE),
    "theory.py": WHOLE,
    "update.py": (*ONLINE, *PROGRAMS),
    "weights.py": (*ONLINE, *EQUATIONS, "tests/test_finite_width.py"),
}
"""By the name of a source, tests that are cheap and meant for it: in one process they take about a minute, and half of
that where programs come from the cache."""

PATIENCE, MARGIN = 4.0, 30.0
"""Time limit of a mutant: so many times what its tests take without it, and so many seconds."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant. fate: "survived", or how it was killed."""

    file: str
    line: int
    change: str
    fate: str
    seconds: float


class Workshop:
    """Copies of the package, one for every job, in which tests are run."""

    def __init__(self, place: Path) -> None:
        self._place, self._own = place, threading.local()

    def fate(self, file: str, source: str, tests: tuple[str, ...], limit: float | None) -> str:
        """The first test that fails when `file` has this source, or why there is none."""
        copy = self._copy()
        target = copy / file
        original = target.read_bytes()
        target.write_text(source)
        try:
            return self._run(copy, tests, limit)
        finally:
            target.write_bytes(original)

    def _copy(self) -> Path:
        if not hasattr(self._own, "copy"):
            self._own.copy = Path(tempfile.mkdtemp(dir=self._place))
            for name in COPIED:
                made = self._own.copy / name
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, made, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / name, made)
        copy: Path = self._own.copy
        return copy

    def _run(self, copy: Path, tests: tuple[str, ...], limit: float | None) -> str:
        places = [str(copy), str(copy / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "JAX_PLATFORMS": "cpu",
            **os.environ,
            **thread_limits(1),
            "PYTHONPATH": os.pathsep.join(places),
            "PYTHONDONTWRITEBYTECODE": "1",  # two sources of one second and size would be taken for the same
            "JAX_COMPILATION_CACHE_DIR": str(self._place / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
        try:
            ended = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return "took too long"
        if ended.returncode == 0:
            return "survived"
        failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0].partition(" - ")[0] if failed else f"exit code {ended.returncode}"


def tests_of(file: str) -> tuple[str, ...]:
    name = Path(file).name
    if name not in TESTS:
        sys.exit(f"{file}: no tests are named for it; expected one of {', '.join(sorted(TESTS))}")
    return TESTS[name]


def chosen(files: list[str], count: int | None, seed: int) -> list[tuple[str, Mutation]]:
    """So many mutants in random order, or all."""
    every = [(file, mutation) for file in files for mutation in mutations((ROOT / file).read_text())]
    random.Random(seed).shuffle(every)
    return every[:count]


def tried(files: list[str], count: int | None, seed: int, jobs: int, minutes: float) -> Iterator[Outcome]:
    """What became of the mutants that were begun in this time, one after the other."""
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        workshop = Workshop(Path(folder))

        @cache
        def limit(tests: tuple[str, ...]) -> float:
            """Seconds that a mutant may take: measured before the first one that has these tests."""
            began, file = time.monotonic(), next(f for f in files if tests_of(f) == tests)
            fate = workshop.fate(file, (ROOT / file).read_text(), tests, None)
            if fate != "survived":
                sys.exit(f"{file} without any mutation: {fate}; expected tests that pass")
            return PATIENCE * (time.monotonic() - began) + MARGIN

        def one(mutant: tuple[str, Mutation]) -> Outcome | None:
            file, mutation = mutant
            if time.monotonic() > end:
                return None
            tests = tests_of(file)
            longest, began = limit(tests), time.monotonic()
            fate = workshop.fate(file, mutation.source, tests, longest)
            return Outcome(file, mutation.line, mutation.change, fate, round(time.monotonic() - began, 1))

        yield from (outcome for outcome in pool.map(one, chosen(files, count, seed)) if outcome is not None)


def report(outcomes: list[Outcome]) -> None:
    whole, left = (Counter(o.file for o in some) for some in (outcomes, filter(survived, outcomes)))
    for file, number in sorted(whole.items()):
        print(f"  {left[file]:4d} of {number:4d} survived  {file}")
    late = sum(o.fate == "took too long" for o in outcomes)
    print(f"{len(outcomes)} mutants, {left.total()} survived, {late} took too long")


def survived(outcome: Outcome) -> bool:
    return outcome.fate == "survived"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", nargs="+", help=f"sources to mutate, all of {' and '.join(SOURCES)} if left out")
    parser.add_argument("--count", type=int, help="mutants, as many as there is time for if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no mutant after so many")
    parser.add_argument("--output", type=Path, help="write all outcomes to this file, as JSON")
    given = parser.parse_args()
    every = sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    files = given.files or [str(path.relative_to(ROOT)) for path in every if path.name in TESTS]
    outcomes = []
    for outcome in tried(files, given.count, given.seed, given.jobs, given.minutes):
        outcomes.append(outcome)
        if survived(outcome):
            print(f"{outcome.file}:{outcome.line}: {outcome.change}", flush=True)
        if given.output:
            given.output.write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    report(outcomes)


if __name__ == "__main__":
    main()
