"""What several commands take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from fwdmft.compilation_cache import OFF, VARIABLE
from fwdmft.errors import InputError
from fwdmft.machine import check_address_space, with_processors

ResultOrSweep = Annotated[Path, typer.Argument(help="Result file (netCDF), or directory of a sweep.")]
Force = Annotated[bool, typer.Option(help="Run even if the memory estimate exceeds what is available.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CompilationCache = Annotated[
    str | None,
    typer.Option(
        envvar=VARIABLE,
        metavar=f"DIR|{OFF}",
        help="Directory that keeps compiled programs for the next time; left out: in the user's cache directory.",
    ),
]
Processors = Annotated[
    str | None,
    typer.Option("--cpus", metavar="N", help="Processors to use, at most; left out: FWDMFT_PROCESSORS, or all."),
]


def before_jax(count: str | None = None) -> None:
    """First of all in a command that imports JAX. Raises InputError where JAX cannot start, which libraries may not
    survive, and for what is no number.

    count: processors to keep busy, at most; None to leave it at what it is. Libraries read it when they are imported.
    """
    check_address_space()
    if count is None:
        return
    if not count.isdecimal() or int(count) < 1:
        raise InputError("cpus", count, "a whole number of at least 1")
    os.environ.update(with_processors(int(count)))
