"""Computing the points of a sweep, each in a process of its own.

A fresh process per point costs some seconds of start-up, and buys independence: memory is returned after each point,
and a point that dies, of lack of memory for example, takes no other with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fwdmft.errors import InputError
from fwdmft.executors import Executor
from fwdmft.files import made_directory, temporary_directory
from fwdmft.machine import compiled_threads, processors
from fwdmft.sweeping.manifest import manifest_of, write_manifest
from fwdmft.sweeping.points import Point, points
from fwdmft.sweeping.process import Job, Processes
from fwdmft.sweeping.spec import Sweep

Progress = Callable[[str, int, int], None]
"""(stage, done, total), called as points finish."""

_WORDS = ("name", "title", "description")  # fields that change no number


@dataclass
class Outcome:
    """What became of the points of a sweep, by name; `failed` holds the reasons."""

    computed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_sweep(
    sweep: Sweep,
    directory: str | Path,
    jobs: int = 1,
    progress: Progress | None = None,
    force: bool = False,
    compilation_cache: Path | None = None,
    executor: Executor | None = None,
) -> Outcome:
    """Compute the points of a sweep that `directory` does not hold yet, `jobs` of them at a time.

    Every point is validated before the first is computed. A point whose result file is there is skipped; one that
    fails is reported in the outcome and does not stop the others. progress: called with ("points", done, total).
    force: as in `run`. compilation_cache: directory for compiled programs; left out, points share one that is gone
    afterwards. Points are computed in new processes, which share the processors. executor: who computes them instead
    (see `fwdmft.dask_executor`), as many at a time as there are workers, each with one processor.

    Raises InputError for a sweep or points that are not valid, and where a result file holds another experiment.
    """
    if jobs < 1:
        raise InputError("jobs", jobs, "a whole number of at least 1")
    if executor is not None and jobs > 1:
        raise InputError("jobs", jobs, "1 with an executor, which computes as many points at a time as it has workers")
    every = points(sweep)
    home = made_directory(directory).resolve()
    there = [_finished(point, home) for point in every]
    write_manifest(manifest_of(sweep, every), home)
    outcome = Outcome(skipped=[point.place.name for point, done in zip(every, there, strict=True) if done])
    missing = [point for point, done in zip(every, there, strict=True) if not done]
    report = progress or (lambda stage, done, total: None)
    report("points", len(outcome.skipped), len(every))
    for name, failure in _compute(missing, home, jobs, force, compilation_cache, executor):
        if failure is None:
            outcome.computed.append(name)
        else:
            outcome.failed[name] = failure
        report("points", len(outcome.skipped) + len(outcome.computed) + len(outcome.failed), len(every))
    return outcome


# --- points that are there already ---


def _finished(point: Point, home: Path) -> bool:
    """Whether its result is there. Raises InputError if the file is there but holds another experiment."""
    from fwdmft.results.write import check_output

    path = check_output(home / point.place.file)
    if not path.exists():
        return False
    differences = list(_differences(_dump(point), _stored(path)))
    if differences:
        expected = "the result of this point, or no file: its experiment differs in " + ", ".join(differences)
        raise InputError("output", str(path), f"{expected}. Remove it, or choose another directory")
    return True


def _dump(point: Point) -> dict[str, Any]:
    return dict(json.loads(point.experiment.model_dump_json()))


def _stored(path: Path) -> dict[str, Any]:
    """The experiment in a result file."""
    import xarray as xr

    from fwdmft.results.write import opened

    try:
        root = opened(path, "output", lambda tree: xr.DataTree(xr.Dataset(attrs=tree.attrs)))
        return dict(json.loads(root.attrs["experiment"]))
    except InputError as error:
        raise InputError("output", str(path), f"{error.expected}; or no file under this name") from None
    except (KeyError, ValueError):
        raise InputError("output", str(path), "a result written by `fwdmft sweep`, or no file") from None


def _differences(wanted: Any, stored: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted fields in which two experiments differ, those without influence on any number left out."""
    if len(path) == 1 and path[0] in _WORDS:
        return
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for name in wanted | stored:
            yield from _differences(wanted.get(name), stored.get(name), (*path, name))
    elif wanted != stored:
        yield ".".join(path)


# --- points to compute ---


def _compute(
    missing: Sequence[Point], home: Path, jobs: int, force: bool, cache: Path | None, executor: Executor | None
) -> Iterator[tuple[str, str | None]]:
    """(name, reason of failure or None) of each point, as they finish; what is under way ends with the iteration.

    Points share what they compile: the same programs, unless a field changes shapes or functions.
    """
    share, threads = max(1, processors() // max(1, min(jobs, len(missing)))), compiled_threads()
    with temporary_directory() as scratch:
        kept = str(cache or scratch)
        work = [
            Job(_dump(point), str(point.experiment.base), str(home / point.place.file), force, kept, share, threads)
            for point in missing
        ]
        for position, failure in _here(work, jobs) if executor is None else executor.points(work):
            yield missing[position].place.name, failure


def _here(work: Sequence[Job], jobs: int) -> Iterator[tuple[int, str | None]]:
    """As `Executor.points`, in processes of this machine, `jobs` of them at a time."""
    under_way = Processes()
    with ThreadPoolExecutor(jobs) as waiting:
        futures: dict[Future[str | None], int] = {
            waiting.submit(under_way.compute, job): position for position, job in enumerate(work)
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            waiting.shutdown(wait=False, cancel_futures=True)
            under_way.end()
