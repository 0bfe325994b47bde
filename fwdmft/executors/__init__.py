"""Where pieces of work are done: side by side on this machine, or by the workers of a cluster.

Work        a function and the items that it is mapped over.
SideBySide  does work and gives the results in order, so that sums of them do not depend on who was faster.
            `fwdmft.in_order.THREADS` are threads of this process.
Executor    does this for an experiment, and computes the points of sweeps. `dask` is one: a cluster of
            dask.distributed. Without an executor, points are computed in processes of this machine
            (`fwdmft.sweeping.process`), all else in threads.

`shipping` is how work travels, `worker` what a worker of a cluster does with it. Nothing here imports JAX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from fwdmft.experiment.model import Experiment
    from fwdmft.preparing import Prepared
    from fwdmft.sweeping.process import Job

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """recipe()(item) of every item.

    recipe: makes the function once wherever it is needed, compiled if that takes long. It can be shipped (see
    `shipping`): a partial of a function of a module. workers: threads that have room here, None for one a processor.
    first_alone: whether threads share what the first item compiles. flops: of all items together, about; what is little
    is not sent away.
    """

    recipe: Callable[[], Callable[[Item], Result]]
    items: Sequence[Item]
    workers: int | None = None
    first_alone: bool = False
    flops: float = math.inf


@runtime_checkable
class SideBySide(Protocol):
    """Does work, with results in order."""

    @property
    def devices(self) -> int:
        """Number of JAX devices on which a piece of work can be spread."""

    def __call__(self, work: Work[Item, Result]) -> Iterator[Result]:
        """The result of each item in turn, a bounded number of them under way or waiting."""


@runtime_checkable
class Executor(Protocol):
    """Computes what experiments and sweeps are made of."""

    def side_by_side(self, experiment: Experiment, prepared: Prepared) -> SideBySide:
        """How pieces of this experiment are computed."""

    def points(self, jobs: Sequence[Job]) -> Iterator[tuple[int, str | None]]:
        """(position among the jobs, why it failed or None) of each point, as they finish; their files are there."""
