"""Run an experiment: theory and ensembles on the same task, assembled into one result."""

import os
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import xarray as xr

from fwdmft import registry
from fwdmft.checkpoint import Checkpoint
from fwdmft.engine.problem import TheoryTask
from fwdmft.engine.step_halving import gradient_flow_ladders
from fwdmft.executors import Executor, SideBySide
from fwdmft.experiment.model import Experiment
from fwdmft.identity import identity, plugins_of
from fwdmft.in_order import THREADS
from fwdmft.machine import peak_memory
from fwdmft.networks.ensemble import WidthStatistics, train_ensemble
from fwdmft.networks.training import Task
from fwdmft.optimization import Plan, RichardsonLevel
from fwdmft.preparing import observable_functions, prepare
from fwdmft.registry import Architecture
from fwdmft.results.build import result_tree
from fwdmft.results.theory_loss import theory_loss
from fwdmft.rounding import check_networks, has_targets
from fwdmft.theory import solve

Progress = Callable[[str, int, int], None]
"""(stage, done, total), called as work proceeds."""

DEFAULT_WIDTHS = (64, 256, 1024)
"""Widths of the predicted loss when no ensemble names any."""


def run(
    experiment: Experiment,
    progress: Progress | None = None,
    force: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 30.0,
    executor: Executor | None = None,
) -> xr.DataTree:
    """Compute an experiment and return its result (see the documentation of the result file).

    progress: called with (stage, done, total). force: run even if the memory estimate exceeds what is available.
    checkpoint: a directory in which the ensembles put down what they have, at most every `checkpoint_every` seconds,
    and from which a later run of the same experiment goes on; who asked for it removes it.
    executor: where members of ensembles and large parts of the theory are computed (see `fwdmft.dask_executor`); left
    out: in threads of this process. Numbers are the same to the last bit, on processors of the same kind.
    The theory runs in float64 and networks in the precision asked for, whatever JAX is set to elsewhere.
    Raises InputError for data or settings that do not fit, ComputationError when training diverges.
    """
    report = progress or (lambda stage, done, total: None)
    # Losses over no points are NaN, and so are networks that diverge: not the mistakes that these settings find.
    with jax.debug_nans(False), jax.debug_infs(False):
        return _run(experiment, report, force, checkpoint, checkpoint_every, executor)


def _run(
    experiment: Experiment,
    report: Progress,
    force: bool,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
    executor: Executor | None,
) -> xr.DataTree:
    start = time.perf_counter()
    prepared = prepare(experiment)
    dataset, plan, theory_task = prepared.dataset, prepared.plan, prepared.theory
    prepared.check_memory(force)
    kept = None if checkpoint is None else Checkpoint(checkpoint, identity(experiment, dataset, plan), checkpoint_every)
    side_by_side = THREADS if executor is None else executor.side_by_side(experiment, prepared)
    with jax.enable_x64(True):
        theory = solve(theory_task, report, kept, side_by_side) if theory_task and experiment.theory else None
        theory_seconds = time.perf_counter() - start
        ladder = theory.ladder if theory else _ladder(theory_task, plan)
    task = prepared.ensemble and replace(prepared.ensemble, plan=plan.on_ladder(ladder))
    ensemble = _ensembles(experiment, task, report, kept, side_by_side)
    with jax.enable_x64(True):
        widths = experiment.ensemble.widths if experiment.ensemble else DEFAULT_WIDTHS
        loss = theory_loss(experiment.loss, dataset, theory, widths) if theory else None
    diagnostics = {
        "seconds": time.perf_counter() - start,
        "theory_seconds": theory_seconds,
        "peak_memory_bytes": float(peak_memory()),
        "device": prepared.device,
    }
    return result_tree(
        experiment,
        dataset,
        theory,
        loss,
        ensemble,
        diagnostics,
        plugins_of(experiment),
        _described(registry.registry().get("architecture", experiment.architecture.kind), experiment),
    )


def _described(architecture: Architecture, experiment: Experiment) -> Architecture:
    """The architecture with the code that it depends on among its conventions, and with what the experiment observes
    besides among its own observables."""
    fingerprint = experiment.architecture.fingerprint()
    code = f"; code of sha256 {fingerprint}" if fingerprint else ""
    asked = {each.name: each.observable for each in observable_functions(experiment)}
    observables = {**architecture.observed(experiment.architecture), **asked}
    return replace(architecture, conventions=architecture.conventions + code, observables=observables)


def _ladder(task: TheoryTask | None, plan: Plan) -> tuple[RichardsonLevel, ...]:
    """The step-halving ladder of networks whose theory is not asked for."""
    return plan.ladder if task is None else gradient_flow_ladders(task).coarse


def _ensembles(
    experiment: Experiment,
    task: Task | None,
    report: Progress,
    checkpoint: Checkpoint | None,
    side_by_side: SideBySide,
) -> list[WidthStatistics]:
    spec = experiment.ensemble
    if spec is None or task is None:
        return []

    def one(width: int, members: int) -> WidthStatistics:
        stage = f"width {width}"
        report(stage, 0, members)
        with jax.enable_x64(spec.precision == "float64"):
            statistics = train_ensemble(
                task,
                width,
                members,
                spec.seed,
                spec.samples,
                lambda done: report(stage, done, members),
                checkpoint,
                spec.diverged_share,
                side_by_side,
            )
        if has_targets(task.y, task.train, task.plan):
            name = "final_prediction" if task.final_only else "prediction"
            check_networks(width, np.dtype(spec.precision), task.gamma0(width), statistics.mean[name])
        return statistics

    return [one(*each) for each in zip(spec.widths, spec.members_per_width(), strict=True)]
