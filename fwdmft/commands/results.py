"""Commands that take results: show, compare, merge, plot, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import fwdmft
from fwdmft.commands.options import AsJson, ResultOrSweep, before_jax
from fwdmft.console import console
from fwdmft.errors import InputError


def show(
    result: ResultOrSweep,
    agreement: Annotated[bool, typer.Option("--agreement", help="Show every measure of the agreement.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the agreement to this .csv too.")] = None,
) -> None:
    """Print the losses of a result, or of each point of a sweep, and how well theory and ensembles agree."""
    from fwdmft.results.report import summary_table
    from fwdmft.results.scores import check_table, write_agreement

    if output is not None:
        check_table(output)
    tree = fwdmft.open_sweep(result) if result.is_dir() else fwdmft.open_result(result)
    if output is not None:
        numbers = fwdmft.agreement(tree)
        if not numbers.data_vars:
            expected = "theory and ensemble with observables in common, which the table of --output compares"
            raise InputError("result", result, expected)
        write_agreement(numbers, output)
    if result.is_dir():
        from fwdmft.sweeping.report import sweep_table

        console().print(sweep_table(tree, agreement))
    else:
        console().print(summary_table(tree, agreement))


def compare(
    first: Annotated[Path, typer.Argument(help="Result file (netCDF).")],
    second: Annotated[Path, typer.Argument(help="Result file (netCDF) that shares points and times with it.")],
    as_json: AsJson = False,
) -> None:
    """Compare two results: their experiments, then theory and ensembles of both, in standard errors."""
    from fwdmft.results import judging_report
    from fwdmft.results.judging import compare as compared

    comparison = compared({str(path): fwdmft.open_result(path) for path in (first, second)})
    if as_json:
        typer.echo(judging_report.as_json(comparison))
    else:
        console().print(judging_report.tables(comparison))


def merge(
    results: Annotated[list[Path], typer.Argument(help="Result files (netCDF) of one experiment with other seeds.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result file to write (netCDF).")],
) -> None:
    """Merge the ensembles of results of one experiment, as if all networks had been trained at once."""
    before_jax()
    from fwdmft.merging import merge as merged
    from fwdmft.results.write import check_output, write_result

    target = check_output(output)
    if len(set(results)) < len(results):
        raise InputError("results", [str(path) for path in results], "each file once")
    if target in [path.resolve() for path in results]:
        raise InputError("output", output, "a name that none of the merged results has: they stay as they are")
    result = merged({str(path): fwdmft.open_result(path) for path in results})
    write_result(result, output)
    print_summary(result)


def plot(
    result: ResultOrSweep,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the figures.")],
) -> None:
    """Draw the figures of a result, or of a sweep along each of its fields."""
    tree = fwdmft.open_sweep(result) if result.is_dir() else fwdmft.open_result(result)
    for path in fwdmft.plot(tree, output):
        typer.echo(path)


def report(
    result: ResultOrSweep,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write (.html).")],
) -> None:
    """Write one page with tables and interactive figures, which opens offline in any browser."""
    typer.echo(fwdmft.report(result, output))


def print_summary(result: Any) -> None:
    """What `run` and `merge` say in the end."""
    from fwdmft.results.report import summary_table

    console().print(summary_table(result))
