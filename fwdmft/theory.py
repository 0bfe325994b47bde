"""The theory half of an experiment: infinite width, Sigma, b, and the error of each.

Infinite width comes from large simulations (`infinite_width`). Sigma and b come from draws of small networks
(`from_draws`), and from the linear response of neurons in smooth two-layer networks (`from_response`), where that is
cheaper. Numbers of neurons and of draws follow from a stated error, unless the experiment names them.
"""

import time
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped
from threadpoolctl import threadpool_limits

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections.corrections import Arrays, Corrections
from fwdmft.corrections.finite_width import NARROWEST
from fwdmft.corrections.from_draws import from_draws
from fwdmft.corrections.from_response import from_response, has_response
from fwdmft.engine.infinite_width import (
    Infinite,
    Report,
    infinite_width,
    too_many_vectors,
)
from fwdmft.engine.layers import TWO_TIME_DIMS
from fwdmft.engine.neurons import sample
from fwdmft.engine.problem import TheoryTask
from fwdmft.engine.simulation import Crowded
from fwdmft.engine.sobol_errors import sobol_error, spread_error
from fwdmft.engine.step_halving import gradient_flow_ladders
from fwdmft.errors import ComputationError, FwdmftWarning, InputError
from fwdmft.executors import SideBySide
from fwdmft.in_order import THREADS
from fwdmft.optimization import RichardsonLevel
from fwdmft.program.response_functions import is_supported, response_functions
from fwdmft.rounding import check_theory, has_targets


@dataclass(frozen=True)
class TheoryResult:
    """Arrays have time first, then the dimensions named in `dims`.

    mean: at infinite width, with Monte-Carlo `standard_error`. variance: N Var. bias: N (E q_N - q). Those that were
    not asked for are empty. prediction_covariance: (time, point, output, time, point, output) or None.
    equal_time_covariances, prediction_biases: N Cov among the outputs of one point (group, time, point, output,
    output) and b of predictions (group, time, point, output) as each group of draws has them, or None.
    layer_covariance: N Cov of the mean diagonals of the layers' kernels (time, kernel, layer, kernel, layer), kernels
    being feature and gradient, or None. kernel_points: positions of the points that kernels are of, None for all.
    Two-time kernels have the axes named in `dims`, which include time.
    responses: A as feature_response, B as gradient_response at saved times (see
    `fwdmft.program.response_functions`), and their `_standard_error`.
    ladder: the step-halving ladder that suffices for networks.
    """

    times: Int[np.ndarray, " time"]
    dims: dict[str, tuple[str, ...]]
    mean: Arrays
    standard_error: Arrays = field(default_factory=dict)
    variance: Arrays = field(default_factory=dict)
    variance_standard_error: Arrays = field(default_factory=dict)
    bias: Arrays = field(default_factory=dict)
    bias_standard_error: Arrays = field(default_factory=dict)
    prediction_covariance: Float[np.ndarray, "time point output time point output"] | None = None
    equal_time_covariances: Float[np.ndarray, "group time point output output"] | None = None
    prediction_biases: Float[np.ndarray, "group time point output"] | None = None
    layer_covariance: Float[np.ndarray, "time kernel layer kernel layer"] | None = None
    kernel_points: Int[np.ndarray, " kernel_point"] | None = None
    responses: dict[str, Float[np.ndarray, "matrix time ..."]] = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    ladder: tuple[RichardsonLevel, ...] = ()


def solve(
    task: TheoryTask,
    report: Report = lambda stage, done, total: None,
    checkpoint: Checkpoint | None = None,
    side_by_side: SideBySide = THREADS,
) -> TheoryResult:
    """Run the theory. Call it where JAX computes in float64.

    side_by_side: where simulations, draws and samplings are computed.

    Raises ComputationError when training diverges at infinite width, when its vectors are too many for the neurons, or
    when gradient flow does not converge; InputError when responses are asked of a network they are not defined for.
    """
    # Small products and decompositions are many; their threads would mostly wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        return _solve(task, report, checkpoint, side_by_side)


def _solve(task: TheoryTask, report: Report, checkpoint: Checkpoint | None, side_by_side: SideBySide) -> TheoryResult:
    check_responses(task)
    spec, clock = task.spec, _Clock()
    task = replace(task, equations=task.equations.resolving(spec.basis_tolerance))
    steps = gradient_flow_ladders(task)
    tried = infinite_width(task.on_ladder(steps.fine), report, side_by_side)
    infinite = tried.with_error(steps.error) if isinstance(tried, Infinite) else None
    task = task.on_ladder(steps.coarse)
    diagnostics = {"substeps": steps.fine[-1].substeps}
    result: dict[str, Any] = {"times": task.times, "ladder": steps.coarse, "diagnostics": diagnostics}
    result["diagnostics"]["seconds_infinite_width"] = clock.lap()
    if isinstance(tried, Crowded):
        _without_infinite_width(task, tried)
    if infinite is not None:
        if has_targets(task.y, task.train, task.plan):
            gamma0 = task.richness(NARROWEST) if task.lazy else float(infinite.equations.gamma0)
            check_theory(gamma0, infinite.mean, task.y, task.plan)
        task = resolved(task, infinite)
        result["diagnostics"] |= _bases_diagnostics(infinite) | {"neurons": infinite.neurons}
        if spec.responses:
            result["responses"] = responses(task, infinite.neurons, report)
    corrections = None
    if spec.fluctuations or spec.bias or infinite is None:
        if infinite is not None and has_response(task):
            corrections = from_response(task, report, side_by_side)
        else:
            corrections = from_draws(task, infinite, report, checkpoint, side_by_side)
        result["diagnostics"] |= corrections.diagnostics | {"seconds_corrections": clock.lap()}
    return TheoryResult(
        dims=task.equations.dims
        | (TWO_TIME_DIMS if task.two_time else {})
        | {each.name: each.observable.dims for each in task.functions},
        kernel_points=task.kernel_points,
        **result,
        **_summary(task, infinite, corrections),
    )


def resolved(task: TheoryTask, infinite: Infinite) -> TheoryTask:
    """The task with room for the bases that simulations took, which resolve what these have learned."""
    equations = task.equations.with_capacities(tuple(matrix.capacities for matrix in infinite.equations.matrices))
    equations = equations.learning(float(infinite.equations.learned))
    return replace(task, equations=equations)


def _without_infinite_width(task: TheoryTask, crowded: Crowded) -> None:
    """Say what q comes from instead, or that responses come from nothing else."""
    words = too_many_vectors(task, crowded)
    if task.spec.responses:
        raise ComputationError(f"response functions: {words}")
    instead = f"q comes from networks of small width instead, until its error is {task.spec.relative_error:g}"
    if task.spec.draws:
        instead = f"q comes from {task.spec.draws} draws of networks of small width instead"
    warnings.warn(f"infinite width: {words}; {instead}", FwdmftWarning, stacklevel=2)


class _Clock:
    """Processor seconds between laps."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        seconds, self._last = now - self._last, now
        return seconds


def _summary(task: TheoryTask, infinite: Infinite | None, corrections: Corrections | None) -> dict[str, Any]:
    """What the result holds of q, Sigma and b."""
    if corrections is None:
        assert infinite is not None
        errors = {name: spread_error(a) for name, a in infinite.each.items()}
        return {"mean": infinite.mean, "standard_error": _with_truncation(infinite, errors)}
    spec = task.spec
    mean, errors = corrections.limit
    if infinite is not None:
        simulated = infinite.width * spec.replicates
        mean = infinite.mean
        errors = {
            name: sobol_error(spread, np.maximum(corrections.variance[name], 0) / simulated, spec.replicates)
            for name, spread in infinite.spread.items()
        }
        errors = _with_truncation(infinite, errors)
    summary = {"mean": mean, "standard_error": errors, "equal_time_covariances": corrections.equal_time_covariances}
    if spec.fluctuations:
        summary |= {"variance": corrections.variance, "variance_standard_error": corrections.variance_error}
        summary |= {
            "layer_covariance": corrections.layer_covariance,
            "prediction_covariance": corrections.prediction_covariance,
        }
    if spec.bias:
        summary |= {"bias": corrections.bias, "bias_standard_error": corrections.bias_error}
        summary["prediction_biases"] = corrections.prediction_biases
    return summary


def _with_truncation(infinite: Infinite, errors: Arrays) -> Arrays:
    return {name: np.hypot(error, infinite.truncation[name]) for name, error in errors.items()}


def check_responses(task: TheoryTask) -> None:
    """Raise InputError if response functions are asked for where they cannot be computed."""
    expected = {
        "one output, and hidden matrices without normalisation, attention, convolutions": is_supported(task.equations),
        "a richness of order one, as without it neurons do not respond": not task.lazy,
        "gradient descent, of which every step is kept in mind": task.plan.tolerance is None,
    }
    for needed, given in expected.items():
        if task.spec.responses and not given:
            raise InputError("theory.responses", True, f"false, or {needed}")


def responses(task: TheoryTask, count: int, report: Report) -> dict[str, Float[np.ndarray, "matrix time ..."]]:
    """Means over the simulations of the infinite width, each with its share of the neurons, and standard errors."""
    spec, kept = task.spec, np.asarray(task.times)
    training = task.training(save_every=1)
    samples = []
    for replicate in range(spec.replicates):
        report("responses", replicate, spec.replicates)
        noise = jax.tree.map(
            jnp.asarray, sample(task.equations.populations, task.equations.supplies, count, spec.seed, replicate)
        )
        responses = response_functions(task.equations, noise, training, -(-count // spec.replicates))
        pair = {"feature_response": responses.feature, "gradient_response": responses.gradient}
        other = 1 + responses.feature.ndim // 2
        samples.append({name: np.asarray(a).take(kept, axis=1).take(kept, axis=other) for name, a in pair.items()})
    report("responses", spec.replicates, spec.replicates)
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    error = {f"{name}_standard_error": spread_error(a) for name, a in stacked.items()}
    return {name: a.mean(axis=0) for name, a in stacked.items()} | error


def _bases_diagnostics(infinite: Infinite) -> dict[str, Shaped[np.ndarray, " side"]]:
    """Ranks and dropped shares, forward and backward side of each matrix in turn; none without matrices."""
    if not infinite.bases.rank.size:
        return {}
    diagnostics = {"basis_rank": infinite.bases.rank, "basis_dropped_residual": infinite.bases.dropped}
    return {name: np.asarray(a) for name, a in diagnostics.items()}
