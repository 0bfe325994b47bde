"""What people see of a command: tables, progress, warnings, and text on terminals that know ASCII alone."""

from __future__ import annotations

import codecs
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fwdmft.errors import FwdmftWarning

_IN_ASCII = {"±": "+-", "×": "x", "–": "-", "…": "...", "Σ": "Sigma", "γ": "gamma", "η": "eta", "Φ": "Phi"}


def prepare_streams() -> None:
    """Let output go on where the encoding lacks a character, and say our warnings in the form of our messages."""
    codecs.register_error("fwdmft", _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="fwdmft")
    show = warnings.showwarning

    def shown(message: Any, category: type[Warning], *details: Any, **named: Any) -> None:
        if issubclass(category, FwdmftWarning):
            typer.echo(f"warning: {message}", err=True)
        else:
            show(message, category, *details, **named)

    warnings.showwarning = shown


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(letter, "?") for letter in text), error.end


def console(stderr: bool = False) -> Console:
    """A console that wraps tables for people but never cuts them when the output goes to a file or pipe."""
    usual = Console(stderr=stderr)
    return usual if usual.is_terminal else Console(stderr=stderr, width=160)


@contextmanager
def live_progress() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per stage on standard error, moved by the yielded function (stage, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        stages: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield advance
