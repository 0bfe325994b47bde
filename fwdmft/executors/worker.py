"""What a worker of a cluster does: it prepares an experiment once, and computes pieces of it, or points of a sweep.

Nothing here imports JAX before the worker knows how many processors it may keep busy.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fwdmft.errors import ClusterError, FwdmftError, InputError
from fwdmft.experiment.model import Experiment
from fwdmft.machine import SHARE, compiled_for, processors
from fwdmft.plugin_code import culprit

if TYPE_CHECKING:
    from fwdmft.preparing import Prepared
    from fwdmft.sweeping.process import Job

KEPT = 4
"""Experiments, and recipes of them, that a worker keeps compiled."""

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Shipment:
    """A recipe and all that it takes to follow it.

    experiment: what it is part of. facts: what results depend on, by name (`fwdmft.identity`). settings: of JAX, by
    name. recipe: packed (`shipping`), see `fwdmft.executors.SideBySide`. cache: choice of a directory for compiled
    programs (`fwdmft.compilation_cache`). threads: for which programs are compiled (`fwdmft.machine`).
    """

    experiment: Experiment
    facts: Mapping[str, str]
    settings: Mapping[str, bool]
    recipe: bytes
    cache: str | None
    threads: int


@dataclass(frozen=True)
class Answer:
    """What became of a piece: its packed result or the error, and the seconds that it took, but for preparing."""

    seconds: float
    result: bytes = b""
    error: FwdmftError | None = None


def compute(shipment: bytes, item: Any) -> Answer:
    """The piece of an item. shipment: a pickled `Shipment`."""
    try:
        with _LOCK:
            work, settings = _followed(shipment)
        start = time.perf_counter()
        from fwdmft.executors.shipping import packed

        with settings():
            result = work(item)
        with settings(jax_enable_x64=True):
            return Answer(time.perf_counter() - start, result=packed(result))
    except Exception as error:
        return Answer(0.0, error=_reported(error))


def point(job: Job, cache: str | None) -> tuple[str | None, bytes]:
    """Why a point of a sweep failed or None, and its result file. It is computed in a process of its own, which keeps
    one processor busy, or as many as `FWDMFT_PROCESSORS` says where the worker runs."""
    from distributed import get_worker

    from fwdmft.compilation_cache import cache_directory
    from fwdmft.sweeping.process import Processes

    # What a worker that is killed leaves there is removed by its cluster.
    with TemporaryDirectory(dir=get_worker().local_directory) as place:
        path, kept = Path(place) / "point.nc", cache_directory(cache)
        share = processors() if SHARE in os.environ else 1
        job = replace(job, path=str(path), cache=None if kept is None else str(kept), processors=share)
        failure = Processes().compute(job)
        return failure, b"" if failure else path.read_bytes()


def devices(threads: int) -> int:
    """How many devices a worker computes on. threads: see `Shipment`."""
    _settle(threads)
    from fwdmft.in_order import THREADS

    return THREADS.devices


@cache
def _settle(threads: int) -> None:
    """Before JAX starts: its programs are those of the process that asks, and several workers share a GPU."""
    os.environ.update(compiled_for(threads))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@lru_cache(KEPT)
def _followed(content: bytes) -> tuple[Callable[[Any], Any], Callable[..., ExitStack]]:
    """The function of a shipped recipe, and the settings under which it computes."""
    shipment: Shipment = pickle.loads(content)
    _settle(shipment.threads)
    prepared = _prepared(shipment.experiment.model_dump_json(), shipment.experiment.base, shipment.cache)
    _check(shipment, prepared)
    import jax
    from threadpoolctl import threadpool_limits

    from fwdmft.executors.shipping import unpacked

    def settings(**others: bool) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        for name, value in {**shipment.settings, **others}.items():
            stack.enter_context(SETTINGS[name](jax)(value))
        return stack

    with settings(jax_enable_x64=True):
        recipe = unpacked(shipment.recipe, prepared)
    with settings():
        return recipe(), settings


SETTINGS: dict[str, Callable[[Any], Callable[[bool], Any]]] = {
    "jax_enable_x64": lambda jax: jax.enable_x64,
    "jax_debug_nans": lambda jax: jax.debug_nans,
    "jax_debug_infs": lambda jax: jax.debug_infs,
}
"""Settings of JAX that belong to a thread, and how they are set for a while."""


@lru_cache(KEPT)
def _prepared(experiment: str, base: Path, cache: str | None) -> Prepared:
    import json

    from fwdmft.compilation_cache import cache_directory, use_cache
    from fwdmft.experiment.model import load_experiment
    from fwdmft.preparing import prepare

    use_cache(cache_directory(cache))
    return prepare(load_experiment(json.loads(experiment), base))


def _check(shipment: Shipment, prepared: Prepared) -> None:
    """Raise ClusterError where results would be those of something else."""
    from fwdmft.identity import identity

    own = identity(shipment.experiment, prepared.dataset, prepared.plan)
    other = [name for name, fact in shipment.facts.items() if own.get(name) != fact]
    if other:
        raise ClusterError(
            f"a worker on {os.uname().nodename} has other facts than this process: {', '.join(other)}; expected the "
            "same files of data and the same installed packages"
        )


def _reported(error: Exception) -> FwdmftError:
    """What the user is told, in a form that can be pickled."""
    if isinstance(error, FwdmftError):
        return error if isinstance(error, InputError) else type(error)(str(error))
    plugin = culprit(error)
    where = "" if plugin is None else f"{plugin} failed: "
    detail = traceback.format_exc() if os.environ.get("FWDMFT_DEBUG") else str(error)
    return ClusterError(f"a worker on {os.uname().nodename}: {where}unexpected {type(error).__name__}: {detail}")
