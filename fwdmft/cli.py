"""The command line: run, estimate, sweep, validate, show, compare, merge, plot, report, schema, and those for plugins.

Exit codes (see `exit_codes`): 0 success, 2 bad input, 1 failed computation, 130 interrupted (143 by SIGTERM). Messages
go to standard error.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

import fwdmft
from fwdmft.compilation_cache import OFF, VARIABLE, cache_directory, use_cache
from fwdmft.console import console, live_progress, prepare_streams
from fwdmft.errors import InputError
from fwdmft.executors.options import LOCAL, ExecutorName, Scheduler, chosen_executor
from fwdmft.exit_codes import reported
from fwdmft.interruption import end_on_signals, parting_words
from fwdmft.machine import processors, with_processors

app = typer.Typer(
    name="fwdmft",
    help="Infinite-width theory of training, its finite-width fluctuations and bias, beside ensembles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML or JSON).")]
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


def use_processors(count: str | None) -> None:
    """Keep no more than so many processors busy, None to leave it at what it is. Libraries read this when they are
    imported, so it comes first in a command. Raises InputError."""
    if count is None:
        return
    if not count.isdecimal() or int(count) < 1:
        raise InputError("cpus", count, "a whole number of at least 1")
    os.environ.update(with_processors(int(count)))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"fwdmft {fwdmft.__version__}")
        raise typer.Exit()


@app.command()
@reported
def run(
    experiment: ExperimentFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Result file to write (netCDF).")],
    force: Annotated[bool, typer.Option(help="Run even if the memory estimate exceeds what is available.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, whatever an interrupted run has left.")] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between checkpoints of the ensembles, kept in OUTPUT.partial.")
    ] = 30.0,
    executor: ExecutorName = LOCAL,
    scheduler: Scheduler = None,
    compilation_cache: CompilationCache = None,
    cpus: Processors = None,
) -> None:
    """Compute an experiment and write its result; go on from where an interrupted run of it was."""
    use_processors(cpus)
    from fwdmft.checkpoint import resumable
    from fwdmft.results.write import check_output, write_result

    loaded = fwdmft.load_experiment(experiment)
    target = check_output(output)
    use_cache(cache_directory(compilation_cache))
    with (
        chosen_executor(executor, scheduler, compilation_cache) as chosen,
        resumable(target, fresh) as kept,
        live_progress() as progress,
    ):
        result = fwdmft.run(
            loaded,
            progress=progress,
            force=force,
            checkpoint=kept,
            checkpoint_every=checkpoint_every,
            executor=chosen,
        )
        write_result(result, output)
    _print_summary(result)


@app.command()
@reported
def estimate(
    experiment: ExperimentFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    cpus: Processors = None,
) -> None:
    """Foresee what `run` will take, from a short pilot: neurons, bases, draws, memory and time of each part."""
    use_processors(cpus)
    from fwdmft.estimating import as_mapping, table

    foreseen = fwdmft.estimate(fwdmft.load_experiment(experiment))
    if as_json:
        typer.echo(json.dumps(as_mapping(foreseen), indent=1))
    else:
        console().print(table(foreseen))


@app.command()
@reported
def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="Sweep file (YAML or JSON).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the results, one file per point.")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Points computed at a time, a process each.")] = 1,
    force: Annotated[bool, typer.Option(help="Run even if the memory estimate exceeds what is available.")] = False,
    executor: ExecutorName = LOCAL,
    scheduler: Scheduler = None,
    compilation_cache: CompilationCache = None,
    cpus: Processors = None,
) -> None:
    """Compute an experiment at every point of a grid of its fields, skipping points that are there already."""
    use_processors(cpus)
    loaded = fwdmft.load_sweep(file)
    cache = cache_directory(compilation_cache)
    words = "finished points are kept, and skipped when the sweep is run again"
    with (
        chosen_executor(executor, scheduler, compilation_cache) as chosen,
        parting_words(lambda: words),
        live_progress() as progress,
    ):
        outcome = fwdmft.run_sweep(loaded, output, jobs, progress, force, cache, chosen)
    counts = (f"{len(outcome.computed)} points computed", f"{len(outcome.skipped)} there already")
    typer.echo(", ".join((*counts, f"{len(outcome.failed)} failed")))
    if outcome.failed:
        _report_failures(outcome.failed)
        raise typer.Exit(1)


def _report_failures(failed: dict[str, str]) -> None:
    table = Table("point", "failure", title="Points that failed", title_justify="left")
    for name, reason in failed.items():
        table.add_row(Text(name), Text(reason))
    console(stderr=True).print(table)


@app.command()
@reported
def validate(
    experiment: Annotated[
        Path, typer.Argument(help="Experiment file, or sweep file (YAML or JSON), or result file (netCDF).")
    ],
    force: Annotated[bool, typer.Option(help="Be content with a memory estimate above what is available.")] = False,
) -> None:
    """Check an experiment, or every point of a sweep, and its data: build all that is computed, compute nothing.
    Check a result file against the published format."""
    from fwdmft.experiment.reading import read_mapping
    from fwdmft.results.validation import is_netcdf

    if is_netcdf(experiment):
        _validate_result(experiment)
        return
    if "base" in read_mapping(experiment):
        from fwdmft.sweeping.points import points as points_of

        loaded_sweep = fwdmft.load_sweep(experiment)
        from fwdmft.preparing import prepare

        count = len(points_of(loaded_sweep, lambda one: prepare(one).check_memory(force)))
        typer.echo(f"{experiment} is valid: {loaded_sweep.name}, {count} points of a sweep")
        return
    loaded = fwdmft.load_experiment(experiment)
    from fwdmft.preparing import prepare

    prepared = prepare(loaded)
    prepared.check_memory(force)
    data = prepared.dataset
    points = f"{data.n_train} training and {len(data.x) - data.n_train} test points"
    typer.echo(f"{experiment} is valid: {loaded.name}, {loaded.architecture.kind}, {points}, {data.y.shape[1]} outputs")


def _validate_result(path: Path) -> None:
    from fwdmft.results.write import validate_result

    tree = validate_result(path)
    halves = " and ".join(name for name in ("theory", "ensemble") if name in tree.children)
    version, library = tree.attrs["schema_version"], tree.attrs["creation_library"]
    typer.echo(f"{path} is a valid result of schema_version {version}, written by {library}: {halves}")


@app.command()
@reported
def show(
    result: Annotated[Path, typer.Argument(help="Result file (netCDF), or directory of a sweep.")],
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


@app.command()
@reported
def compare(
    first: Annotated[Path, typer.Argument(help="Result file (netCDF).")],
    second: Annotated[Path, typer.Argument(help="Result file (netCDF) that shares points and times with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two results: their experiments, then theory and ensembles of both, in standard errors."""
    from fwdmft.results import judging_report
    from fwdmft.results.judging import compare as compared

    comparison = compared({str(path): fwdmft.open_result(path) for path in (first, second)})
    if as_json:
        typer.echo(judging_report.as_json(comparison))
    else:
        console().print(judging_report.tables(comparison))


@app.command()
@reported
def merge(
    results: Annotated[list[Path], typer.Argument(help="Result files (netCDF) of one experiment with other seeds.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Result file to write (netCDF).")],
) -> None:
    """Merge the ensembles of results of one experiment, as if all networks had been trained at once."""
    from fwdmft.merging import merge as merged
    from fwdmft.results.write import check_output, write_result

    check_output(output)
    if len(set(results)) < len(results):
        raise InputError("results", [str(path) for path in results], "each file once")
    result = merged({str(path): fwdmft.open_result(path) for path in results})
    write_result(result, output)
    _print_summary(result)


@app.command()
@reported
def plot(
    result: Annotated[Path, typer.Argument(help="Result file (netCDF), or directory of a sweep.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the figures.")],
) -> None:
    """Draw the figures of a result, or of a sweep along each of its fields."""
    tree = fwdmft.open_sweep(result) if result.is_dir() else fwdmft.open_result(result)
    for path in fwdmft.plot(tree, output):
        typer.echo(path)


@app.command()
@reported
def report(
    result: Annotated[Path, typer.Argument(help="Result file (netCDF), or directory of a sweep.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write (.html).")],
) -> None:
    """Write one page with tables and interactive figures, which opens offline in any browser."""
    typer.echo(fwdmft.report(result, output))


@app.command()
@reported
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


@app.command("new-plugin")
@reported
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


@app.command("check-plugin")
@reported
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
    use_processors(cpus)
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


@app.command()
@reported
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


def _print_summary(result: Any) -> None:
    from fwdmft.results.report import summary_table

    console().print(summary_table(result))
