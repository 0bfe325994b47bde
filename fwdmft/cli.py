"""The command line: its commands (`fwdmft.commands`) as one program.

Exit codes (see `exit_codes`): 0 success, 2 bad input, 1 failed computation, 130 interrupted (143 by SIGTERM). Messages
go to standard error.
"""

from __future__ import annotations

import atexit
import gc
import os
from typing import Annotated

import typer

import fwdmft
from fwdmft.commands import experiments, plugins, results
from fwdmft.console import prepare_streams
from fwdmft.exit_codes import reported
from fwdmft.interruption import end_on_signals
from fwdmft.machine import processors, with_processors

app = typer.Typer(
    name="fwdmft",
    help="Infinite-width theory of training, its finite-width fluctuations and bias, beside ensembles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    *(experiments.run, experiments.estimate, experiments.sweep, experiments.validate),
    *(results.show, results.compare, results.merge, results.plot, results.report),
    *(plugins.plugins, plugins.new_plugin, plugins.check_plugin, plugins.schema),
):
    app.command(command.__name__.replace("_", "-"))(reported(command))

COLLECTED = 100_000, 50, 50
"""When Python looks for unreachable objects: tracing programs makes so many that live on that Python's own thresholds
cost a tenth of a short run."""


def main() -> None:
    """The `fwdmft` command, in a process of its own."""
    end_on_signals()
    gc.set_threshold(*COLLECTED)
    atexit.register(gc.freeze)  # so that nothing is looked for at the end, when all of it goes anyway
    os.environ.update(with_processors(processors()))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU and its memory
    prepare_streams()
    app()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"fwdmft {fwdmft.__version__}")
        raise typer.Exit()
