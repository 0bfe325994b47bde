"""Options of the command line that say where an experiment is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

import fwdmft
from fwdmft.errors import InputError

LOCAL, DASK = "local", "dask"

ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar=f"{LOCAL}|{DASK}",
        help=f"Where it is computed: {LOCAL}, on this machine, or {DASK}, by the workers of a cluster.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help=f"With --executor {DASK}: a scheduler that is there, such as tcp://host:8786; left out: a cluster of this "
        "machine, of one worker a processor.",
    ),
]


@contextmanager
def chosen_executor(name: str, scheduler: str | None, cache: str | None) -> Iterator[Any]:
    """The executor that is asked for, None for this machine's own."""
    if name not in (LOCAL, DASK):
        raise InputError("executor", name, f"{LOCAL} or {DASK}")
    if name == LOCAL:
        if scheduler is not None:
            raise InputError("scheduler", scheduler, f"no address without --executor {DASK}")
        yield None
        return
    with fwdmft.dask_executor(scheduler, cache=cache) as cluster:
        yield cluster
