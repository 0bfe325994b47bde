"""What a command says when it fails, and its exit code: 2 bad input, 1 failed computation, 130 interrupted.

A traceback is shown only when the environment variable FWDMFT_DEBUG is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from fwdmft.errors import FwdmftError, PluginError
from fwdmft.plugin_code import culprit

INTERRUPTED = 130

MORE_MEMORY = (
    "in an experiment, set theory.kernel_points, lower theory.neurons, raise theory.save_every or set ensemble.kernels "
    "to false; compute less side by side (--cpus 1), or allow more memory (ulimit -v, the container)"
)


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turn exceptions into a message on standard error and an exit code."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BaseException as error:  # SystemExit too: it comes from code that is not ours
            if os.environ.get("FWDMFT_DEBUG"):
                raise
            message, code = _explained(error)
            typer.echo(message, err=True)
            raise typer.Exit(code) from None

    return guarded


def _explained(error: BaseException) -> tuple[str, int]:
    """What to tell the user about an exception, and the exit code."""
    plugin = culprit(error)
    if isinstance(error, PluginError) and plugin is not None:
        return f"{plugin}: {error}", error.exit_code
    if isinstance(error, FwdmftError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt) and plugin is None:
        return "interrupted; no result was written", INTERRUPTED
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):  # of Python, of JAX
        return f"out of memory{f' ({error})' if str(error) else ''}: {MORE_MEMORY}", 1
    hint = "set FWDMFT_DEBUG=1 to see where"
    where = "" if plugin is None else f"{plugin} failed: "
    return f"{where}unexpected {type(error).__name__}: {error} ({hint})", 1
