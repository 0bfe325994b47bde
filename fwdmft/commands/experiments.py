"""Commands that take an experiment or a sweep: run, estimate, sweep, validate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

import fwdmft
from fwdmft.commands.options import AsJson, CompilationCache, Force, Processors, before_jax
from fwdmft.commands.results import print_summary
from fwdmft.compilation_cache import cache_directory, use_cache
from fwdmft.console import console, live_progress
from fwdmft.executors.options import LOCAL, ExecutorName, Scheduler, chosen_executor
from fwdmft.interruption import parting_words

ExperimentFile = Annotated[Path, typer.Argument(help="Experiment file (YAML or JSON).")]


def run(
    experiment: ExperimentFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Result file to write (netCDF).")],
    force: Force = False,
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
    before_jax(cpus)
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
    print_summary(result)


def estimate(
    experiment: Annotated[Path, typer.Argument(help="Experiment file, or sweep file (YAML or JSON).")],
    as_json: AsJson = False,
    force: Force = False,
    cpus: Processors = None,
) -> None:
    """Foresee what `run` will take, from a short pilot: neurons, bases, draws, memory and time of each part.
    Of a sweep, what its first point will take."""
    before_jax(cpus)
    from fwdmft.estimating import as_mapping, table

    if _is_sweep(experiment):
        from fwdmft.sweeping.points import points as points_of

        every = points_of(fwdmft.load_sweep(experiment))
        first, place = every[0].experiment, {"point": every[0].place.name, "points": len(every)}
    else:
        first, place = fwdmft.load_experiment(experiment), {}
    foreseen = fwdmft.estimate(first, force=force)
    if as_json:
        typer.echo(json.dumps(as_mapping(foreseen) | place, indent=1))
        return
    console().print(table(foreseen))
    if place:
        typer.echo(f"This is the first of {place['points']} points, {place['point']}.")


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="Sweep file (YAML or JSON).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the results, one file per point.")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Points computed at a time, a process each.")] = 1,
    force: Force = False,
    executor: ExecutorName = LOCAL,
    scheduler: Scheduler = None,
    compilation_cache: CompilationCache = None,
    cpus: Processors = None,
) -> None:
    """Compute an experiment at every point of a grid of its fields, skipping points that are there already."""
    before_jax(cpus)
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


def validate(
    experiment: Annotated[
        Path, typer.Argument(help="Experiment file, or sweep file (YAML or JSON), or result file (netCDF).")
    ],
    force: Annotated[bool, typer.Option(help="Be content with a memory estimate above what is available.")] = False,
) -> None:
    """Check an experiment, or every point of a sweep, and its data: build all that is computed, compute nothing.
    Check a result file against the published format."""
    from fwdmft.results.validation import is_netcdf

    if is_netcdf(experiment):
        _validate_result(experiment)
        return
    before_jax()
    if _is_sweep(experiment):
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


def _is_sweep(file: Path) -> bool:
    from fwdmft.experiment.reading import read_mapping

    return "base" in read_mapping(file)


def _validate_result(path: Path) -> None:
    from fwdmft.results.write import validate_result

    tree = validate_result(path)
    halves = " and ".join(name for name in ("theory", "ensemble") if name in tree.children)
    version, library = tree.attrs["schema_version"], tree.attrs["creation_library"]
    typer.echo(f"{path} is a valid result of schema_version {version}, written by {library}: {halves}")
