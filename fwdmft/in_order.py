"""Work done side by side in threads, with results taken in order, so that sums do not depend on which was faster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax

from fwdmft.executors import SideBySide, Work
from fwdmft.machine import processors

Item = TypeVar("Item")
Result = TypeVar("Result")

PROCESSORS = processors()
"""Processors that this process may use."""


TOGETHER = 1 << 26
"""Numbers of eight bytes that work side by side may hold, beyond what one piece of work needs anyway."""


def fitting_workers(numbers: int) -> int:
    """How many processors work side by side on pieces that hold so many numbers each."""
    return max(1, min(PROCESSORS, TOGETHER // max(1, numbers)))


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int = PROCESSORS) -> Iterator[Result]:
    """work(item) of each item in turn, with no more than `workers` items under way or waiting.

    Threads compute with the caller's settings of JAX. A single worker is the caller itself.
    """
    if workers == 1:
        yield from map(work, items)
        return
    waiting = deque[Future]()
    # JAX keeps these settings per thread.
    precise, nans, infs = (getattr(jax.config, name) for name in ("jax_enable_x64", "jax_debug_nans", "jax_debug_infs"))

    def as_here(item: Item) -> Result:
        with jax.enable_x64(precise), jax.debug_nans(nans), jax.debug_infs(infs):
            return work(item)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        for item in items:
            waiting.append(pool.submit(as_here, item))
            if len(waiting) >= workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def after_the_first(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int = PROCESSORS
) -> Iterator[Result]:
    """As `in_order`, but the first by itself: it compiles what the others use as well."""
    rest = iter(items)
    for first in rest:
        yield work(first)
        break
    yield from in_order(work, rest, workers)


class Threads:
    """Work side by side in threads of this process, see `fwdmft.executors.SideBySide`."""

    @property
    def devices(self) -> int:
        return len(devices())

    def __call__(self, work: Work[Item, Result]) -> Iterator[Result]:
        run = after_the_first if work.first_alone else in_order
        return run(work.recipe(), work.items, PROCESSORS if work.workers is None else work.workers)


THREADS: SideBySide = Threads()


def devices() -> list[jax.Device]:
    """The devices of this process to compute on: all of the first one's kind, or the one that the user has chosen."""
    present = jax.local_devices()
    (default,) = jax.numpy.zeros(()).devices()
    return present if default == present[0] else [default]
