"""What a run of an experiment is made of, built and checked before anything is computed: `validate` stops here."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from fwdmft import registry
from fwdmft.corrections.from_draws import draw_multiple
from fwdmft.datasets import Dataset
from fwdmft.datasets.loading import load_points
from fwdmft.datasets.streams import with_stream
from fwdmft.engine.field_equations import FieldEquations, Unsupported
from fwdmft.engine.problem import TheoryTask
from fwdmft.errors import FwdmftWarning, InputError, PluginError
from fwdmft.expansion import check_richness
from fwdmft.experiment.halves import EnsembleSpec, TheorySpec
from fwdmft.experiment.model import Experiment
from fwdmft.losses import check_loss
from fwdmft.networks.building import builder
from fwdmft.networks.ensemble import statistics_bytes
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.networks.training import Task, evaluate
from fwdmft.observables import OBSERVABLES, Observable, ObservableFunction
from fwdmft.optimization import Plan
from fwdmft.resources import check_memory, device_kind, ensemble_bytes, theory_bytes
from fwdmft.theory import check_responses

LARGE_PREDICTIONS = 1 << 29
"""Bytes of statistics of the predictions from which, unless asked for, they are kept at the last time alone."""


@dataclass(frozen=True)
class Prepared:
    """dataset: the points that are observed. plan: of training. peak_bytes: estimated memory.

    theory: where it is asked for, or gradient flow needs it to find the step. ensemble: where it is asked for.
    device: the kind of device that JAX computes on.
    """

    dataset: Dataset
    plan: Plan
    theory: TheoryTask | None
    ensemble: Task | None
    peak_bytes: int
    device: str

    def check_memory(self, force: bool) -> None:
        """Refuse what needs more than is available, unless forced. Raises InputError."""
        check_memory(self.peak_bytes, force, lazy=self.theory is not None and self.theory.lazy)


def prepare(experiment: Experiment) -> Prepared:
    """Build all of a run but its numbers. Raises InputError for data or settings that do not fit."""
    if not isinstance(experiment, Experiment):
        raise InputError("experiment", experiment, "what fwdmft.load_experiment makes of a file or of a mapping")
    device = device_kind()
    with jax.enable_x64(True):
        check_richness(experiment.parameterization)
        experiment.architecture.locate(experiment.base)
        _check_lazy(experiment)
        _check_loss(experiment)
        dataset, plan = _points_and_plan(experiment)
        _check_observables(experiment, dataset)
        # Field equations hold all points in double precision, too many where only networks are trained on them.
        needed = experiment.theory is not None or plan.tolerance is not None
        theory = _theory_task(experiment, dataset, plan) if needed else None
        ensemble = _ensemble_task(experiment, dataset, plan) if experiment.ensemble else None
        if experiment.theory and theory:
            check_responses(theory)
            if theory.spec.fluctuations or theory.spec.bias:
                draw_multiple(theory)
            for remark in experiment.architecture.remarks():
                warnings.warn(f"architecture.{remark}", FwdmftWarning, stacklevel=2)
        return Prepared(dataset, plan, theory, ensemble, _peak_bytes(experiment, theory, ensemble), device)


def _points_and_plan(experiment: Experiment) -> tuple[Dataset, Plan]:
    dataset = load_points(experiment)
    plan = experiment.optimizer.plan(dataset.n_train)
    return with_stream(dataset, plan) if experiment.optimizer.online else (dataset, plan)


def _check_lazy(experiment: Experiment) -> None:
    decay = getattr(experiment.optimizer, "weight_decay", 0.0)
    if experiment.parameterization.richness(None) == 0 and decay:
        raise InputError(
            "optimizer.weight_decay", decay, "0 in the lazy limit, whose kernels would not stay static otherwise"
        )


def _check_loss(experiment: Experiment) -> None:
    check_loss(experiment.loss)
    kinked = registry.registry().get("loss", experiment.loss.kind).kinked
    if kinked and experiment.theory and (experiment.theory.fluctuations or experiment.theory.bias):
        expected = (
            "a loss with second derivatives, which Sigma and b need, or theory.fluctuations and theory.bias false"
        )
        raise InputError("loss.kind", experiment.loss.kind, expected)


def observable_functions(experiment: Experiment) -> tuple[ObservableFunction, ...]:
    """What the experiment observes besides, of any architecture."""
    return tuple(registry.registry().get("observable", name) for name in experiment.observables)


def _check_observables(experiment: Experiment, dataset: Dataset) -> None:
    """Check that what is asked for can be observed. Raises InputError."""
    if not experiment.observables:
        return
    names, theory, ensemble = list(experiment.observables), experiment.theory, experiment.ensemble
    if experiment.optimizer.online or not dataset.train.any():
        raise InputError("observables", names, "none where no training point is observed")
    if any(half is not None and half.kernel_points for half in (theory, ensemble)):
        raise InputError(
            "observables", names, "none where kernels are of kernel_points alone, or kernels of all points"
        )
    if ensemble is not None and not ensemble.kernels:
        raise InputError("observables", names, "none where ensemble.kernels is false")
    declared = registry.registry().get("architecture", experiment.architecture.kind).observables
    for name in names:
        if name in declared:
            kind = experiment.architecture.kind
            raise InputError("observables", name, f"no name that architecture {kind} has for an observable of its own")


def _check_functions(experiment: Experiment, q: Mapping[str, Any], train: np.ndarray) -> None:
    """Follow the shapes of order parameters at one time through the functions of them. Raises PluginError.

    q: shapes by name.
    """
    sizes = {"point": q["prediction"].shape[0], "output": q["prediction"].shape[1]}
    if "feature_kernel" in q:
        sizes["layer"] = q["feature_kernel"].shape[0]
    for each in observable_functions(experiment):
        origin, dims = registry.registry().origin("observable", each.name), each.observable.dims
        try:
            value = jax.eval_shape(lambda q, each=each: each.function(q, train), dict(q))
        except KeyError as missing:
            kind = experiment.architecture.kind
            expected = f"order parameters that architecture {kind} has ({', '.join(q)}); it reads {missing}"
            raise InputError("observables", each.name, expected) from None
        shape = getattr(value, "shape", None)
        fits = shape is not None and len(shape) == len(dims)
        if not fits or any(sizes.get(dim, size) != size for dim, size in zip(dims, shape or (), strict=True)):
            raise PluginError(f"{origin} has the shape {shape}; expected one number for each of {dims}")


def _theory_task(experiment: Experiment, dataset: Dataset, plan: Plan) -> TheoryTask:
    """The theory of the experiment; with a modest one where only ensembles are asked for (it finds their step)."""
    parameterization = experiment.parameterization
    spec = experiment.theory or TheorySpec(neurons=512, kernel_points=1)
    task = TheoryTask(
        equations=_field_equations(experiment, dataset, plan),
        richness=parameterization.richness,
        lazy=parameterization.richness(None) == 0,
        y=dataset.y,
        train=dataset.train,
        loss=experiment.loss,
        plan=plan,
        spec=spec,
        functions=observable_functions(experiment) if experiment.theory else (),
    )
    if task.functions:
        _check_functions(experiment, {name: a for name, a in task.shapes.items() if name in OBSERVABLES}, dataset.train)
    try:
        return replace(task, equations=task.equations.at_kernel_points(task.kernel_points))
    except Unsupported:
        if experiment.theory is None:
            return task
        expected = f"no number for architecture {experiment.architecture.kind}, whose kernels are those of all points"
        raise InputError("theory.kernel_points", spec.kernel_points, expected) from None


def _field_equations(experiment: Experiment, dataset: Dataset, plan: Plan) -> FieldEquations:
    kind = experiment.architecture.kind
    architecture = registry.registry().get("architecture", kind)
    equations: FieldEquations = architecture.field_equations(
        experiment.architecture, experiment.parameterization, dataset.x, dataset.y.shape[1]
    )
    declared = architecture.observed(experiment.architecture)
    check_dims(equations, declared, registry.registry().origin("architecture", kind))
    if plan.stream is None:
        return equations
    try:
        return equations.carrying(dataset.x, plan.fresh)
    except Unsupported:
        raise InputError(
            "optimizer.data", "online", f"offline for architecture {kind}, whose theory is on fixed points"
        ) from None


def check_dims(equations: FieldEquations, declared: Mapping[str, Observable], origin: str) -> None:
    """Check that the theory observes what the architecture declares. Raises PluginError."""
    expected = {name: one.dims for name, one in declared.items()}
    expected |= {name: one.dims for name, one in OBSERVABLES.items() if name in equations.dims}
    if equations.dims != expected:
        shown = {name: each for name, each in equations.dims.items() if expected.get(name) != each}
        missing = {name: each for name, each in expected.items() if name not in equations.dims}
        raise PluginError(
            f"{origin} has field equations of dims {shown | dict.fromkeys(missing)}; expected "
            f"{ {name: expected[name] for name in (shown | missing) if name in expected} }, as results and "
            "Architecture(observables=...) have them"
        )


def _ensemble_task(experiment: Experiment, dataset: Dataset, plan: Plan) -> Task:
    assert experiment.ensemble is not None
    architecture = registry.registry().get("architecture", experiment.architecture.kind)
    parameterization, spec = experiment.parameterization, experiment.ensemble
    theory_every = experiment.theory.save_every if experiment.theory else 1
    task = Task(
        build=builder(architecture, experiment.architecture, parameterization, dataset.x, dataset.y.shape[1]),
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
        observables={name: one.dims for name, one in architecture.observed(experiment.architecture).items()},
        functions=observable_functions(experiment),
    )
    for width in spec.widths:
        check_network(task, width, registry.registry().origin("architecture", experiment.architecture.kind))
    if task.functions:
        seen = eqx.filter_eval_shape(lambda key: _measured(task, spec.widths[0], key), jax.random.key(0))
        _check_functions(experiment, seen, task.train)
    return replace(task, final_only=_final_only(spec, task))


def check_network(task: Task, width: int, origin: str) -> None:
    """Follow the shapes through a network of a plugin. Raises PluginError, or what the network raises."""

    def predicted(key: Array, x: Array) -> Any:
        network = task.build(width, key)
        return (network.trace(x, network.shifts())[0], network(x)), network.observables(x)

    point = jax.ShapeDtypeStruct(task.x.shape[1:], task.dtype)
    predictions, observed = eqx.filter_eval_shape(predicted, jax.random.key(0), point)
    for prediction in predictions:
        if prediction.shape != task.y.shape[1:]:
            raise PluginError(f"{origin} predicts in the shape {prediction.shape}; expected {task.y.shape[1:]}")
    axes = {name: len(dims) - 1 for name, dims in task.observables.items()}
    if {name: a.ndim for name, a in observed.items()} != axes:
        shapes = {name: a.shape for name, a in observed.items()}
        raise PluginError(f"{origin} observes {shapes} of a point; expected as many axes as it declares, {axes}")


def _measured(task: Task, width: int, key: Array) -> dict[str, Array]:
    """Predictions and kernels of a network."""
    x, network = jax.numpy.asarray(task.x, task.dtype), task.build(width, key)
    return {"prediction": evaluate(network, x)} | empirical_kernels(network, x, task.gamma0(width), width)


def _final_only(spec: EnsembleSpec, task: Task) -> bool:
    """Whether predictions are kept at the last time alone."""
    extrapolated = task.plan.tolerance is not None
    if spec.predictions == "last" and extrapolated:
        raise InputError("ensemble.predictions", "last", "every or auto, as gradient_flow extrapolates predictions")
    too_large = statistics_bytes(replace(task, kernels=False), spec.widths[0]) > LARGE_PREDICTIONS and not extrapolated
    return spec.predictions == "last" or (spec.predictions == "auto" and too_large)


def _peak_bytes(experiment: Experiment, theory: TheoryTask | None, ensemble: Task | None) -> int:
    needed = theory_bytes(theory) if theory and experiment.theory else 0
    if experiment.ensemble and ensemble:
        pairs = zip(experiment.ensemble.widths, experiment.ensemble.members_per_width(), strict=True)
        needed = max(needed, *(ensemble_bytes(ensemble, width, members) for width, members in pairs))
    return needed
