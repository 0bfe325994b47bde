"""Work done side by side in threads, with results taken in order, so that sums do not depend on which was faster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fwdmft.machine import processors

Item = TypeVar("Item")
Result = TypeVar("Result")

PROCESSORS = processors()
"""Processors that this process may use."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int = PROCESSORS) -> Iterator[Result]:
    """work(item) of each item in turn, with no more than `workers` items under way or waiting."""
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
