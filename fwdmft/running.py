"""Run an experiment: theory and ensembles on the same task, assembled into one result."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import jax
import numpy as np
import psutil
import xarray as xr

from fwdmft import registry
from fwdmft.checkpoint import Checkpoint
from fwdmft.datasets import Dataset
from fwdmft.datasets.loading import load_points
from fwdmft.datasets.streams import with_stream
from fwdmft.errors import InputError
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.meanfield.infinite_width import gradient_flow_ladders
from fwdmft.meanfield.task import TheoryTask
from fwdmft.meanfield.theory import solve
from fwdmft.networks.ensemble import WidthStatistics, statistics_bytes, train_ensemble
from fwdmft.networks.training import Task
from fwdmft.optimization import Plan
from fwdmft.resources import check_memory, device_kind, ensemble_bytes, theory_bytes
from fwdmft.results.build import result_tree
from fwdmft.results.theory_loss import theory_loss
from fwdmft.spec.experiment import Experiment
from fwdmft.spec.halves import EnsembleSpec, TheorySpec

Progress = Callable[[str, int, int], None]
"""(stage, done, total), called as work proceeds."""

LARGE_PREDICTIONS = 1 << 29
"""Bytes of statistics of the predictions from which, unless asked for, they are kept at the last time alone."""

DEFAULT_WIDTHS = (64, 256, 1024)
"""Widths of the predicted loss when no ensemble names any."""


def run(
    experiment: Experiment,
    progress: Progress | None = None,
    force: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 30.0,
) -> xr.DataTree:
    """Compute an experiment and return its result (see the documentation of the result file).

    progress: called with (stage, done, total). force: run even if the memory estimate exceeds what is available.
    checkpoint: a directory in which the ensembles put down what they have, at most every `checkpoint_every` seconds,
    and from which a later run of the same experiment goes on; who asked for it removes it.
    The theory runs in float64 and networks in the precision asked for, whatever JAX is set to elsewhere.
    Raises InputError for data or settings that do not fit, ComputationError when training diverges.
    """
    report = progress or (lambda stage, done, total: None)
    # Losses over no points are NaN, and so are networks that diverge: not the mistakes that these settings find.
    with jax.debug_nans(False), jax.debug_infs(False):
        return _run(experiment, report, force, checkpoint, checkpoint_every)


def _run(
    experiment: Experiment,
    report: Progress,
    force: bool,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
) -> xr.DataTree:
    start = time.perf_counter()
    device = device_kind()
    dataset, plan = _points_and_plan(experiment)
    _check_lazy(experiment)
    kept = (
        None if checkpoint is None else Checkpoint(checkpoint, _identity(experiment, dataset, plan), checkpoint_every)
    )
    with jax.enable_x64(True):
        # Field equations hold Gram matrices of all points, too large for data sets that only networks are trained on.
        needed = experiment.theory is not None or plan.tolerance is not None
        theory_task = _theory_task(experiment, dataset, plan) if needed else None
        check_memory(_peak_bytes(experiment, dataset, plan, theory_task), force)
        theory = solve(theory_task, report, kept) if theory_task and experiment.theory else None
        theory_seconds = time.perf_counter() - start
        ladder = gradient_flow_ladders(theory_task)[1] if theory_task else plan.ladder
    ensemble = _ensembles(experiment, dataset, plan.on_ladder(ladder), report, kept)
    ensembled = np.stack([each.jackknifed["ensembled_loss"].value for each in ensemble]) if ensemble else None
    with jax.enable_x64(True):
        widths = experiment.ensemble.widths if experiment.ensemble else DEFAULT_WIDTHS
        loss = theory_loss(experiment.loss, dataset, theory, widths) if theory else None
    kind = experiment.architecture.kind
    installed = registry.registry()
    provider = installed.provider("architecture", kind)
    diagnostics = {
        "seconds": time.perf_counter() - start,
        "theory_seconds": theory_seconds,
        "peak_memory_bytes": float(_peak_memory()),
        "device": device,
    }
    return result_tree(
        experiment,
        dataset,
        theory,
        loss,
        ensemble,
        ensembled,
        diagnostics,
        provider.name,
        provider.version or _version(provider.distribution),
        installed.get("architecture", kind).conventions,
    )


def _points_and_plan(experiment: Experiment) -> tuple[Dataset, Plan]:
    """The points that are observed, and the plan of training."""
    dataset = load_points(experiment)
    plan = experiment.optimizer.plan(dataset.n_train)
    return with_stream(dataset, plan) if experiment.optimizer.online else (dataset, plan)


def _identity(experiment: Experiment, dataset: Dataset, plan: Plan) -> dict[str, str]:
    """What the statistics of the ensembles depend on, by name."""
    provider = registry.registry().provider("architecture", experiment.architecture.kind)
    data = hashlib.sha256()
    for array in (dataset.x, dataset.y, dataset.train, *(plan.stream or ())):
        data.update(repr((array.shape, array.dtype)).encode())
        data.update(array.tobytes())
    return {
        "experiment": experiment.model_dump_json(exclude={"name", "title", "description"}),
        "data": data.hexdigest(),
        "version of fwdmft": _version("fwdmft"),
        "version of jax": _version("jax"),
        "plugin": f"{provider.name} {provider.version or _version(provider.distribution)}",
    }


def _check_lazy(experiment: Experiment) -> None:
    decay = getattr(experiment.optimizer, "weight_decay", 0.0)
    if experiment.parameterization.richness(None) == 0 and decay:
        raise InputError(
            "optimizer.weight_decay", decay, "0 in the lazy limit, whose kernels would not stay static otherwise"
        )


def _theory_task(experiment: Experiment, dataset: Dataset, plan: Plan) -> TheoryTask:
    """The theory of the experiment; with a modest one where only ensembles are asked for (it finds their step)."""
    parameterization = experiment.parameterization
    spec = experiment.theory or TheorySpec(neurons=512)
    return TheoryTask(
        equations=_field_equations(experiment, dataset, plan),
        richness=parameterization.richness,
        lazy=parameterization.richness(None) == 0,
        y=dataset.y,
        train=dataset.train,
        loss=experiment.loss,
        plan=plan,
        spec=spec,
        times=experiment.save_times(plan.steps)[0],
    )


def _field_equations(experiment: Experiment, dataset: Dataset, plan: Plan) -> FieldEquations:
    kind = experiment.architecture.kind
    architecture = registry.registry().get("architecture", kind)
    equations = architecture.field_equations(
        experiment.architecture, experiment.parameterization, dataset.x, dataset.y.shape[1]
    )
    if plan.stream is None:
        return equations
    carrying = equations.carrying(dataset.x, plan.fresh)
    if carrying is None:
        raise InputError(
            "optimizer.data", "online", f"offline for architecture {kind}, whose theory is on fixed points"
        )
    return carrying


def _ensemble_task(experiment: Experiment, dataset: Dataset, plan: Plan) -> Task:
    assert experiment.ensemble is not None
    architecture = registry.registry().get("architecture", experiment.architecture.kind)
    parameterization, spec = experiment.parameterization, experiment.ensemble
    theory_every = experiment.theory.save_every if experiment.theory else 1
    task = Task(
        build=lambda width, key: architecture.model(
            experiment.architecture, parameterization, dataset.x, dataset.y.shape[1], width, key
        ),
        gamma0=parameterization.richness,
        x=dataset.x,
        y=dataset.y,
        train=dataset.train,
        loss=experiment.loss,
        plan=plan,
        save_every=spec.save_every or theory_every,
        center=parameterization.center,
        kernels=spec.kernels,
        dtype=np.dtype(spec.precision),
        kernel_points=spec.kernel_points,
    )
    return replace(task, final_only=_final_only(spec, task))


def _final_only(spec: EnsembleSpec, task: Task) -> bool:
    """Whether predictions are kept at the last time alone."""
    extrapolated = task.plan.tolerance is not None
    if spec.predictions == "last" and extrapolated:
        raise InputError("ensemble.predictions", "last", "every or auto, as gradient_flow extrapolates predictions")
    too_large = statistics_bytes(replace(task, kernels=False)) > LARGE_PREDICTIONS and not extrapolated
    return spec.predictions == "last" or (spec.predictions == "auto" and too_large)


def _ensembles(
    experiment: Experiment, dataset: Dataset, plan: Plan, report: Progress, checkpoint: Checkpoint | None
) -> list[WidthStatistics]:
    spec = experiment.ensemble
    if spec is None:
        return []
    task = _ensemble_task(experiment, dataset, plan)

    def one(width: int, members: int) -> WidthStatistics:
        stage = f"width {width}"
        report(stage, 0, members)
        with jax.enable_x64(spec.precision == "float64"):
            return train_ensemble(
                task,
                width,
                members,
                spec.seed,
                task.times,
                spec.samples,
                lambda done: report(stage, done, members),
                checkpoint,
                spec.diverged_share,
            )

    return [one(*each) for each in zip(spec.widths, spec.members_per_width(), strict=True)]


def _peak_bytes(experiment: Experiment, dataset: Dataset, plan: Plan, theory: TheoryTask | None) -> int:
    needed = theory_bytes(theory) if theory and experiment.theory else 0
    if experiment.ensemble:
        task = _ensemble_task(experiment, dataset, plan)
        pairs = zip(experiment.ensemble.widths, experiment.ensemble.members_per_width(), strict=True)
        needed = max(needed, *(ensemble_bytes(task, width, members) for width, members in pairs))
    return needed


def _peak_memory() -> int:
    return psutil.Process().memory_info().rss


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
