"""A cluster of dask.distributed as an executor.

What is under way is bounded, so the scheduler holds a few results at a time, however many there will be. Tasks of
workers that die are given to others by the scheduler. A piece that takes far longer than others is asked for a second
time, as its worker may be stopped or cut off: whoever answers first, the bits are the same.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fwdmft.compilation_cache import OFF
from fwdmft.errors import ClusterError, InputError
from fwdmft.executors import Item, Result, SideBySide, Work, worker
from fwdmft.executors.worker import Answer, Shipment
from fwdmft.files import replacing, temporary_directory
from fwdmft.machine import compiled_for, compiled_threads, processors, thread_limits

if TYPE_CHECKING:
    from distributed import Client, Future

    from fwdmft.experiment.model import Experiment
    from fwdmft.preparing import Prepared
    from fwdmft.sweeping.process import Job

PER_THREAD = 2
"""Pieces under way for each thread of a worker: the next one is there when one is done."""

WORTH = 5e11
"""Flops of a part of the theory from which it is worth sending: a minute of one processor, about. Each worker first
prepares the experiment and compiles, which takes ten seconds or so."""

SMALL = 1 << 16
"""Bytes of a recipe that travels with every piece; a larger one is sent to every worker once."""

PATIENCE, FACTOR = 30.0, 5.0
"""Seconds, and times the longest piece so far, after which a piece is asked for again."""

DEATHS = 3
"""How often workers may die of a piece before it counts as failed."""

SILENCE = 60.0
"""Seconds after which a worker of our own cluster that is not heard of is started anew."""

LOOKING = 5.0
"""Seconds between looks at how many workers there are."""

CONNECTING = "10 s"
"""How long the scheduler is given to answer."""

GONE = "the scheduler of the cluster is gone, or has dropped what it was asked for"

_numbers = count()


@contextmanager
def dask_executor(
    scheduler: str | None = None, workers: int | None = None, cache: str | None = OFF
) -> Iterator[DaskExecutor]:
    """An executor for `fwdmft.run` and `fwdmft.run_sweep`, on a cluster of dask.distributed.

    scheduler: address of a scheduler that is there, such as "tcp://host:8786"; left out: a cluster of processes on this
    machine, which ends with this block, and with this process. workers: processes of that; left out: one a processor.
    cache: where workers keep compiled programs, a directory, "off", or None for their user's cache directory.
    Raises InputError where dask.distributed is not installed or the scheduler does not answer.
    """
    distributed = _distributed()
    if workers is not None and (workers < 1 or scheduler is not None):
        raise InputError("workers", workers, "a whole number of at least 1, for a cluster of this machine")
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if scheduler is None:
            scheduler = stack.enter_context(_cluster(distributed, workers or processors()))
        client = stack.enter_context(_client(distributed, scheduler))
        yield DaskExecutor(client, cache)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        expected = "dask.distributed to be installed: pip install 'fwdmft[distributed]'"
        raise InputError("executor", "dask", expected) from None
    return distributed


@contextmanager
def _quiet() -> Iterator[None]:
    """What the library logs of workers that come and go is told by us where it matters."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    before = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in before:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def _cluster(distributed: Any, workers: int) -> Iterator[str]:
    """The address of a cluster of processes on this machine, each of which keeps one processor busy."""
    before = dict(os.environ)
    quiet = "ignore:resource_tracker:UserWarning"  # at Ctrl-C processes end at once, and their semaphores with them
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), quiet)))
    with temporary_directory() as place:
        made = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # experiments are refused that need more than there is
            local_directory=str(place),
            silence_logs=logging.CRITICAL,
            env=thread_limits(1) | compiled_for(compiled_threads()),
            scheduler_kwargs={"allowed_failures": DEATHS, "worker_ttl": SILENCE, "dashboard": False},
        )
        os.environ.clear()
        os.environ.update(before)  # the library has set threads of its workers in ours
        with made:
            yield made.scheduler_address


@contextmanager
def _client(distributed: Any, scheduler: str) -> Iterator[Client]:
    try:
        client = distributed.Client(scheduler, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError, TypeError) as problem:
        reason = str(problem).partition("\n")[0]
        expected = f"the address of a dask scheduler that answers, such as tcp://host:8786 ({reason})"
        raise InputError("scheduler", scheduler, expected) from None
    try:
        yield client
    finally:
        client.close(timeout=2)


class DaskExecutor:
    """A cluster as a `fwdmft.executors.Executor`. cache: see `dask_executor`. worth: see `WORTH`."""

    def __init__(
        self, client: Client, cache: str | None = OFF, worth: float = WORTH, patience: float = PATIENCE
    ) -> None:
        self.client, self.cache, self.worth, self.patience = client, cache, worth, patience
        self._token = uuid4().hex[:8]
        self._devices, self._pieces, self._looked = 0, PER_THREAD, -math.inf

    def side_by_side(self, experiment: Experiment, prepared: Prepared) -> SideBySide:
        return _OnCluster(self, experiment, prepared)

    def points(self, jobs: Sequence[Job]) -> Iterator[tuple[int, str | None]]:
        from distributed import as_completed

        self.wait_for_workers()
        left = iter(enumerate(jobs))
        places: dict[Future, int] = {}
        under_way = as_completed(loop=self.client.loop)

        def send() -> None:
            for place, job in left:
                future = self.submit(worker.point, job, self.cache)
                places[future] = place
                under_way.add(future)
                return

        try:
            for _ in range(self.window()):
                send()
            for future in under_way:
                place = places.pop(future)
                try:
                    failure, content = _result(future)
                    if failure is None:
                        with replacing(Path(jobs[place].path)) as scratch:
                            scratch.write_bytes(content)
                except _Killed as error:
                    failure = str(error)
                send()
                yield place, failure
        finally:
            self.give_up(places)

    @property
    def devices(self) -> int:
        """Devices of a worker; all are taken to be alike."""
        if not self._devices:
            self.wait_for_workers()
            self._devices = _result(self.submit(worker.devices, compiled_threads()))
        return self._devices

    def wait_for_workers(self) -> None:
        """Wait until there is one."""
        self.client.wait_for_workers(1)

    def window(self) -> int:
        """How many pieces may be under way. Workers may come and go."""
        if time.monotonic() - self._looked > LOOKING:
            self._pieces = PER_THREAD * max(1, sum(self.client.nthreads().values()))
            self._looked = time.monotonic()
        return self._pieces

    def give_up(self, futures: Iterable[Future]) -> None:
        """Let nobody begin with these any more."""
        if self.client.status == "running":
            self.client.cancel(list(futures))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """A task of its own, whatever else was sent."""
        key = f"{function.__name__}-{self._token}-{next(_numbers)}"
        return self.client.submit(function, *arguments, key=key, pure=False)


@dataclass(eq=False)
class _Piece:
    """An item and the tasks that compute it."""

    item: Any
    futures: list[Future] = field(default_factory=list)


class _OnCluster:
    """`fwdmft.executors.SideBySide` for one experiment."""

    def __init__(self, executor: DaskExecutor, experiment: Experiment, prepared: Prepared) -> None:
        self._executor, self._experiment, self._prepared = executor, experiment, prepared

    @property
    def devices(self) -> int:
        return self._executor.devices

    def __call__(self, work: Work[Item, Result]) -> Iterator[Result]:
        from fwdmft.in_order import THREADS

        if work.flops < self._executor.worth:
            return THREADS(work)
        return self._sent(work.recipe, work.items)

    def _sent(self, recipe: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        import jax

        from fwdmft.executors.shipping import unpacked

        executor = self._executor
        executor.wait_for_workers()
        shipment = self._shipment(recipe)
        sent: Any = shipment if len(shipment) <= SMALL else executor.submit(_itself, shipment)
        waiting = deque[_Piece]()
        longest, most = 0.0, executor.window()
        left = iter(items)

        def fill() -> None:
            while len(waiting) < most:
                for item in left:
                    waiting.append(_Piece(item, [executor.submit(worker.compute, sent, item)]))
                    break
                else:
                    return

        try:
            fill()
            while waiting:
                answer = self._answer(waiting, shipment, longest)
                waiting.popleft()
                longest, most = max(longest, answer.seconds), executor.window()
                fill()
                with jax.enable_x64(True):
                    result = unpacked(answer.result, self._prepared)
                yield result
        finally:
            executor.give_up(future for piece in waiting for future in piece.futures)

    def _shipment(self, recipe: Callable[[], Callable[[Any], Any]]) -> bytes:
        import jax

        from fwdmft.executors.shipping import packed
        from fwdmft.identity import identity

        facts = identity(self._experiment, self._prepared.dataset, self._prepared.plan)
        settings = {name: bool(getattr(jax.config, name)) for name in worker.SETTINGS}
        with jax.enable_x64(True):
            content = packed(recipe)
        shipment = Shipment(self._experiment, facts, settings, content, self._executor.cache, compiled_threads())
        return pickle.dumps(shipment)

    def _answer(self, waiting: Sequence[_Piece], shipment: bytes, longest: float) -> Answer:
        """Of the first piece that waits. Another worker is asked as well where this takes far longer than it should."""
        from distributed import CancelledError, wait

        piece, patience = waiting[0], max(self._executor.patience, FACTOR * longest)
        while True:
            try:
                with self._executor.client.as_current():
                    done = wait(piece.futures, timeout=patience, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                # Where nothing has come back yet, nobody knows how long a piece takes.
                if longest or any(future.done() for other in waiting for future in other.futures):
                    self._ask_again(piece, shipment)
                    patience *= 2
                continue
            except CancelledError:
                raise ClusterError(GONE) from None
            for future in done:
                try:
                    answer: Answer = _result(future, patience)
                except TimeoutError:
                    # A worker that has fallen silent holds the result.
                    piece.futures.remove(future)
                    self._ask_again(piece, shipment)
                    patience *= 2
                    continue
                except _Killed:
                    piece.futures.remove(future)
                    if not piece.futures:
                        raise
                    continue
                self._executor.give_up(other for other in piece.futures if other is not future)
                if answer.error is not None:
                    raise answer.error
                return answer

    def _ask_again(self, piece: _Piece, shipment: bytes) -> None:
        piece.futures.append(self._executor.submit(worker.compute, shipment, piece.item))


def _itself(content: bytes) -> bytes:
    return content


class _Killed(ClusterError):
    """Workers died of a piece."""


def _result(future: Future, seconds: float | None = None) -> Any:
    """What a task returned. Raises ClusterError where it could not be computed, `_Killed` where workers died of it, and
    TimeoutError where its worker does not hand it over in so many seconds."""
    from distributed import CancelledError, KilledWorker

    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        raise
    except KilledWorker as problem:
        raise _Killed(
            f"{problem.allowed_failures + 1} workers of the cluster died of the same piece, perhaps for lack of memory"
        ) from None
    except CancelledError:
        raise ClusterError(GONE) from None
    except Exception as problem:
        raise ClusterError(f"the cluster failed: {type(problem).__name__}: {problem}") from None
