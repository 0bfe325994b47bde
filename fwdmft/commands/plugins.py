"""Commands for those who write plugins: plugins, new-plugin, check-plugin, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import fwdmft
from fwdmft.commands.options import Processors, before_jax
from fwdmft.console import console


def plugins() -> None:
    """List installed plugins, what they register, and which are broken."""
    from fwdmft.registry import plugins as reports

    table = Table("plugin", "version", "distribution", "registers", "failure")
    for report in reports():
        table.add_row(
            report.name,
            report.version,
            report.distribution,
            "\n".join(report.registers),
            report.failure or "",
        )
    console().print(table)


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the architecture, its `kind` in experiment files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; left out: fwdmft-NAME, here.")
    ] = None,
) -> None:
    """Write a complete package with an architecture of your own to start from: schema, forward pass, tests."""
    from fwdmft.new_plugin import write_plugin

    for path in write_plugin(name, output):
        typer.echo(path)


def check_plugin(
    kind: Annotated[str, typer.Argument(help="An installed architecture, see `fwdmft plugins`.")],
    architecture: Annotated[
        Path | None,
        typer.Option(
            "--architecture", "-a", help="File (YAML) with the fields of the architecture; left out: defaults."
        ),
    ] = None,
    law: Annotated[
        list[str] | None, typer.Option("--law", help="Check laws whose names contain this alone; may be repeated.")
    ] = None,
    kinked: Annotated[
        bool, typer.Option("--kinked", help="The network has kinks, as with relu: its derivatives jump.")
    ] = False,
    cpus: Processors = None,
) -> None:
    """Check the laws of theory and networks on an architecture, on random data: about two minutes."""
    before_jax(cpus)
    from fwdmft.testing import report
    from fwdmft.testing.choosing import case_of, laws_of

    laws = laws_of(law or [])
    case = case_of(kind, architecture, kinked)
    failed: list[str] = []

    def each(one: report.Outcome) -> None:
        typer.echo(f"{'holds' if one.failure is None else 'FAILS'} {one.law} ({one.seconds:.1f} s)", err=True)
        if one.failure is not None:
            failed.append(str(one.law))

    console().print(report.table(report.title(case), report.check(case, laws), each))
    if failed:
        raise fwdmft.ComputationError(
            f"architecture {kind} breaks {len(failed)} of {len(laws)} laws: {', '.join(failed)}"
        )


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write every schema into this directory.")
    ] = None,
    check: Annotated[Path | None, typer.Option(help="Compare with the schemas in this directory.")] = None,
) -> None:
    """Print the JSON Schema of an experiment, or write or compare the schema files."""
    from fwdmft.experiment import json_schema

    if output is not None:
        for path in json_schema.write_schemas(output):
            typer.echo(path)
    if check is not None:
        _refuse_drift(check, json_schema.drifted(check))
    if output is None and check is None:
        typer.echo(json_schema.as_text(json_schema.experiment_schema()), nl=False)


def _refuse_drift(directory: Path, drift: list[str]) -> None:
    if drift:
        typer.echo(f"{directory} is not what the code describes: {', '.join(drift)}", err=True)
        typer.echo(f"Run `fwdmft schema -o {directory}` and commit the result.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{directory} is up to date")
