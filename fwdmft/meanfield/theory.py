"""The theory half of an experiment: infinite width, Sigma, b, and the Monte-Carlo error of each.

Infinite width is the mean over R passes with S neurons each. Sigma and b come from R independent samplings that share
S neurons, or as many as the experiment says. The spread over samplings gives the standard errors. That of the
infinite width is steadied by Sigma / (R S), what independent neurons would leave (`sobol_error`).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.errors import ComputationError, InputError
from fwdmft.meanfield import neurons
from fwdmft.meanfield.compiling import compiler_options
from fwdmft.meanfield.dynamics import Drive, Trajectory, make_drive
from fwdmft.meanfield.field_equations import Bases, FieldEquations, NeuronWeights
from fwdmft.meanfield.fluctuations import Fluctuations, fluctuations
from fwdmft.meanfield.layers import TWO_TIME_DIMS
from fwdmft.meanfield.lazy import LazyEquations, richness_shift
from fwdmft.meanfield.passes import Passes, Problem, with_room
from fwdmft.meanfield.responses import is_supported, response_functions
from fwdmft.meanfield.room import OutOfRoom
from fwdmft.optimization import Plan, Rung, ladders
from fwdmft.spec.halves import TheorySpec
from fwdmft.spec.loss import LossSpec

BLOCK = 8
"""Directions that travel together through the dynamics, at most."""

MEMORY = 1 << 29
"""Bytes that the directions travelling together through the dynamics may take, about."""

FEW_PROBES, MANY_PROBES = 4, 16
"""Probes of the complement per sampling, where it hardly matters and where it carries a good part of b."""

DERIVATIVE_TOLERANCE = 1e-4
"""Relative accuracy of the gradient-flow limit asked of fluctuations and networks, whose own errors are larger."""

Arrays = dict[str, np.ndarray]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TheoryTask:
    """What the theory is asked.

    equations: at infinite width; their richness is taken to zero if `lazy_scale` is not None.
    lazy_scale: None for richness of order one; else lim N gamma0(N)^2, what a network of a parameterization whose
        richness vanishes learns at order 1/N.
    y: (point, output). train: (point,) mask. save_every: spacing of the saved steps.
    """

    equations: FieldEquations
    lazy_scale: float | None
    y: np.ndarray
    train: np.ndarray
    loss: LossSpec
    plan: Plan
    spec: TheorySpec
    times: np.ndarray

    @property
    def rows(self) -> int:
        """Observed points, or whatever else a neuron carries a number for: fresh points and input weights."""
        return len(self.y) + (0 if self.plan.stream is None else self.plan.fresh + self.plan.stream.x.shape[1])

    @cached_property
    def site_numbers(self) -> tuple[int, int]:
        """How many numbers the fields are of one neuron of every population, and their averages, at one time."""
        equations, few = self.equations, 4
        counts = {population.name: population.gaussians for population in equations.populations}
        counts |= {supply.name: supply.count for supply in equations.supplies}
        noise = {name: jax.ShapeDtypeStruct((count, few), float) for name, count in counts.items()}
        p = {population.name: jax.ShapeDtypeStruct((few,), float) for population in equations.populations}

        def fields(noise: dict[str, Array], p: NeuronWeights) -> tuple[Any, Any]:
            state = equations.initial(noise, p, momentum=False)
            sites = equations.sites(state, equations.forward(state, noise, p)[1], p)
            return sites, {name: equations.averages(name, sites[name], p[name]) for name in sites}

        sizes = [sum(a.size for a in jax.tree.leaves(each)) for each in jax.eval_shape(fields, noise, p)]
        carried = (self.rows - len(self.y)) * (1 + self.y.shape[1])
        return sizes[0] // few + carried, sizes[1]


@dataclass(frozen=True)
class TheoryResult:
    """Arrays have time first, then the dimensions named in `dims`.

    mean: at infinite width, with Monte-Carlo `standard_error`. variance: N Var. bias: N (E q_N - q). Those that were
    not asked for are empty. prediction_covariance: (time, point, output, time, point, output) or None.
    equal_time_covariances, prediction_biases: N Cov among the outputs of one point (sampling, time, point, output,
    output) and b of predictions (sampling, time, point, output) as each independent sampling has them, or None.
    layer_covariance: N Cov of the mean diagonals of the layers' kernels (time, kernel, layer, kernel, layer), kernels
    being feature and gradient, or None. Two-time kernels have the axes named in `dims`, which include time.
    responses: A as feature_response, B as gradient_response (matrix, time, point, time', point'), see `responses`, and
    their `_standard_error`.
    """

    times: np.ndarray
    dims: dict[str, tuple[str, ...]]
    mean: Arrays
    standard_error: Arrays = field(default_factory=dict)
    variance: Arrays = field(default_factory=dict)
    variance_standard_error: Arrays = field(default_factory=dict)
    bias: Arrays = field(default_factory=dict)
    bias_standard_error: Arrays = field(default_factory=dict)
    prediction_covariance: np.ndarray | None = None
    equal_time_covariances: np.ndarray | None = None
    prediction_biases: np.ndarray | None = None
    layer_covariance: np.ndarray | None = None
    responses: Arrays = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)


def solve(task: TheoryTask, report: Report = lambda stage, done, total: None) -> TheoryResult:
    """Run the theory. Call it where JAX computes in float64.

    Raises ComputationError when training diverges at infinite width or gradient flow does not converge, InputError when
    responses are asked of a network they are not defined for.
    """
    check_responses(task)
    spec = task.spec
    task = replace(task, equations=task.equations.resolving(spec.basis_tolerance))
    report("infinite width", 0, spec.replicates)
    fine, coarse = gradient_flow_ladders(task)
    task, mean, spread, bases = _infinite_width(task, fine, report)
    result: dict[str, Any] = {
        "times": task.times,
        "dims": task.equations.dims | (TWO_TIME_DIMS if two_time(task) else {}),
        "mean": mean,
        "standard_error": spread,
    }
    result["diagnostics"] = {"neurons": spec.neurons, "substeps": fine[-1].substeps} | _bases_diagnostics(bases)
    if spec.responses:
        result["responses"] = _responses(task, report)
    if spec.fluctuations or spec.bias:
        samples = _replicates(task, coarse, report)
        result |= _summary(task, samples, spread, coarse)
        result["diagnostics"] |= _diagnostics(samples)
    return TheoryResult(**result)


def _infinite_width(
    task: TheoryTask, ladder: tuple[Rung, ...], report: Report
) -> tuple[TheoryTask, Arrays, Arrays, Bases]:
    """Mean over R passes with S neurons each, its standard error from their spread, and the largest of all bases.

    The task comes back with as much room for bases as that takes.
    """
    passes, bases = [], []
    for replicate in range(task.spec.replicates):
        task, seen = _plain_pass(task, task.spec.neurons, replicate, ladder)
        passes.append(_numpy(seen.seen))
        bases.append(seen.bases)
        check_finite(passes[-1]["prediction"], task.times)
        report("infinite width", replicate + 1, task.spec.replicates)
    most = jax.tree.map(lambda *each: np.max(each, axis=0), *bases)
    return replace(task, equations=task.equations.fitted(most)), *_mean_and_error(passes), most


def _plain_pass(
    task: TheoryTask, count: int, replicate: int, ladder: tuple[Rung, ...]
) -> tuple[TheoryTask, Trajectory]:
    """One pass, and the task with room for what it needed."""
    equations, seen = with_room(
        task.equations, lambda equations: _problem(replace(task, equations=equations), count, replicate, ladder)[0]
    )
    return replace(task, equations=equations), seen


def check_responses(task: TheoryTask) -> None:
    """Raise InputError if response functions are asked for where they cannot be computed."""
    expected = {
        "a plain, fully connected network with two hidden layers or more, and one output": is_supported(task.equations),
        "a richness of order one, as without it neurons do not respond": task.lazy_scale is None,
        "gradient descent, of which every step is kept in mind": task.plan.tolerance is None,
    }
    for needed, given in expected.items():
        if task.spec.responses and not given:
            raise InputError("theory.responses", True, f"false, or {needed}")


def _responses(task: TheoryTask, report: Report) -> Arrays:
    """Means over the passes of the infinite width, each with its share of the neurons, and standard errors."""
    spec, kept = task.spec, np.asarray(task.times)
    every_step = replace(task, spec=spec.model_copy(update={"save_every": 1, "two_time": False}))
    samples = []
    for replicate in range(spec.replicates):
        report("responses", replicate, spec.replicates)
        problem, p = _problem(every_step, spec.neurons, replicate, task.plan.ladder)
        found = response_functions(problem.smoothed(), p, -(-spec.neurons // spec.replicates))
        pair = {"feature_response": found.feature, "gradient_response": found.gradient}
        samples.append({name: np.asarray(a).take(kept, axis=1).take(kept, axis=3) for name, a in pair.items()})
    report("responses", spec.replicates, spec.replicates)
    mean, error = _mean_and_error(samples)
    return mean | {f"{name}_standard_error": value for name, value in error.items()}


def gradient_flow_ladders(task: TheoryTask) -> tuple[tuple[Rung, ...], tuple[Rung, ...]]:
    """Step-halving ladders that reach the plan's tolerance, and a cruder one for derivatives and networks.

    Plain gradient descent needs one rung. Raises ComputationError when the longest ladder does not suffice.
    """
    tolerance = task.plan.tolerance
    if tolerance is None:
        return task.plan.ladder, task.plan.ladder
    coarse, before, change = None, None, np.inf
    for ladder in ladders():
        task, seen = _plain_pass(task, min(task.spec.neurons, 1024), 0, ladder)
        f = np.asarray(seen.seen["prediction"])
        if before is not None and np.isfinite(f).all() and np.isfinite(before).all():
            change = float(np.max(np.abs(f - before)) / max(np.max(np.abs(f)), np.finfo(float).tiny))
            coarse = ladder if coarse is None and change < DERIVATIVE_TOLERANCE else coarse
            if change < tolerance:
                return ladder, coarse or ladder
        before = f
    raise ComputationError(
        f"gradient flow: halving the step {len(ladder)} times left a relative change of {change:.1e}; expected "
        f"optimizer.tolerance {tolerance:g}: raise it, or take a smaller optimizer.learning_rate"
    )


def check_finite(prediction: np.ndarray, times: np.ndarray) -> None:
    """Raise ComputationError naming the first saved step with predictions that are not finite."""
    finite = np.isfinite(prediction).all(axis=(1, 2))
    if not finite.all():
        raise ComputationError(
            f"training diverged at infinite width: predictions are not finite at step {times[np.argmin(finite)]}; "
            "expected finite predictions: lower optimizer.learning_rate or parameterization.gamma0"
        )


def _problem(task: TheoryTask, count: int, replicate: int, ladder: tuple[Rung, ...]) -> tuple[Problem, NeuronWeights]:
    drive = _drive(task, ladder)
    equations = task.equations if task.lazy_scale is None else LazyEquations(task.equations)
    noise = neurons.sample(equations.populations, equations.supplies, count, task.spec.seed, replicate)
    problem = Problem(equations, jax.tree.map(jnp.asarray, noise), drive, two_time(task))
    return problem, problem.equal_weights()


def two_time(task: TheoryTask) -> bool:
    """Whether two-time kernels are computed."""
    return task.spec.two_time and bool(task.equations.layers)


def _drive(task: TheoryTask, ladder: tuple[Rung, ...]) -> Drive:
    return make_drive(task.plan.on_ladder(ladder), task.loss, task.y, task.train, task.spec.save_every)


def _replicates(task: TheoryTask, ladder: tuple[Rung, ...], report: Report) -> list[Fluctuations]:
    """Fluctuations from each independent sampling (numbered from 1; 0 is that of the infinite-width pass).

    Samplings run in threads of their own, as many as there are processors: a pass over few points keeps one busy.
    """
    spec = task.spec
    count = (spec.fluctuation_neurons or spec.neurons) // spec.replicates
    options = compiler_options(
        float(count) * task.site_numbers[0] * sum(rung.substeps for rung in ladder) * task.plan.steps
    )
    passes = Passes(*_problem(task, count, 1, ladder), direction_block(task), spec.bias, options)
    shares = [0.0] * spec.replicates

    def one(replicate: int) -> Fluctuations:
        def progress(share: float) -> None:
            shares[replicate] = share
            report("fluctuations", round(100 * sum(shares)), 100 * spec.replicates)

        # JAX keeps its precision setting per thread.
        with jax.enable_x64(True):
            problem, p = _problem(task, count, replicate + 1, ladder)
            return fluctuations(
                passes,
                problem,
                p,
                covariance=spec.covariance and spec.fluctuations,
                max_rank=spec.rank,
                tolerance=spec.tolerance,
                probes=probe_count(task),
                seed=spec.seed + replicate,
                progress=progress,
            )

    report("fluctuations", 0, 100 * spec.replicates)
    try:
        with ThreadPoolExecutor(max_workers=concurrent_replicates(task)) as pool:
            return list(pool.map(one, range(spec.replicates)))
    except OutOfRoom as error:
        return _replicates(replace(task, equations=task.equations.fitted(error.bases)), ladder, report)


def probe_count(task: TheoryTask) -> int:
    """Random directions per sampling: few suffice without Gaussian matrices."""
    return task.spec.probes or (FEW_PROBES, MANY_PROBES)[bool(task.equations.supplies)]


def concurrent_replicates(task: TheoryTask) -> int:
    """How many samplings run at once: with Gaussian matrices a pass is made of products that use all processors."""
    return 1 if task.equations.supplies else min(task.spec.replicates, os.cpu_count() or 1)


def direction_block(task: TheoryTask) -> int:
    """Directions that travel together, so that they fit into `MEMORY`."""
    return int(np.clip(MEMORY // direction_bytes(task), 1, BLOCK))


def direction_bytes(task: TheoryTask) -> int:
    """Estimated bytes of one direction: derivatives of the neurons' fields, of their averages, of every observable."""
    count = (task.spec.fluctuation_neurons or task.spec.neurons) // task.spec.replicates
    points, outputs = task.y.shape
    observables = 4 * len(task.times) * (points * outputs + points**2 * (1 + 2 * outputs**2))
    per_neuron, averages = task.site_numbers
    return 8 * (12 * (count * per_neuron + averages) + observables)


def _summary(task: TheoryTask, samples: list[Fluctuations], spread: Arrays, ladder: tuple[Rung, ...]) -> dict[str, Any]:
    """Means over replicates and standard errors from their spread; `spread`: standard error of the infinite width."""
    variance, variance_error = _mean_and_error([s.variance for s in samples])
    passes = task.spec.neurons * task.spec.replicates
    summary: dict[str, Any] = {
        "standard_error": {name: sobol_error(spread[name], v / passes) for name, v in variance.items()},
        "equal_time_covariances": np.stack([s.equal_time_covariance for s in samples]),
    }
    if task.spec.fluctuations:
        summary |= {"variance": variance, "variance_standard_error": variance_error}
        together = [s.layer_covariance for s in samples if s.layer_covariance is not None]
        if together:
            summary["layer_covariance"] = np.mean(together, axis=0)
        if task.spec.covariance:
            size = samples[0].equal_time_covariance.shape[:3]
            full = sum(s.prediction_covariance for s in samples if s.prediction_covariance is not None)
            summary["prediction_covariance"] = (np.asarray(full) / len(samples)).reshape(*size, *size)
    if task.spec.bias:
        bias, bias_error = _mean_and_error([s.bias for s in samples])
        shifts = _lazy_bias(task, ladder)
        for name, shift in shifts.items():
            bias[name] = bias[name] + shift
        each = np.stack([s.bias["prediction"] for s in samples]) + shifts.get("prediction", 0.0)
        summary |= {"bias": bias, "bias_standard_error": bias_error, "prediction_biases": each}
    return summary


def sobol_error(spread: np.ndarray, independent: np.ndarray) -> np.ndarray:
    """Standard error of an observable from its spread over few Sobol samplings.

    spread: standard error of each entry from the samplings alone, which is itself uncertain. independent: the variance
    that as many independent neurons would leave. One factor per observable, pooled over its entries, says by how much
    Sobol points do better than those; the mean of both estimates (in variance) is returned.
    """
    expected = float(np.sum(independent))
    gain = min(1.0, float(np.sum(spread**2)) / expected) if expected > 0 else 1.0
    return np.sqrt((spread**2 + gain * independent) / 2)


def _lazy_bias(task: TheoryTask, ladder: tuple[Rung, ...]) -> Arrays:
    """What networks whose richness vanishes like sqrt(lazy_scale / N) learn at order 1/N."""
    if task.lazy_scale is None:
        return {}
    problem, p = _problem(task, task.spec.neurons, 0, ladder)
    shift = richness_shift(replace(problem, equations=task.equations.smoothed()), p)
    return {name: task.lazy_scale * value for name, value in _numpy(shift).items()}


def _mean_and_error(samples: list[Arrays]) -> tuple[Arrays, Arrays]:
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    error = {name: a.std(axis=0, ddof=1) / np.sqrt(len(a)) for name, a in stacked.items()}
    return {name: a.mean(axis=0) for name, a in stacked.items()}, error


def _bases_diagnostics(bases: Bases) -> Arrays:
    """Ranks and dropped shares, forward and backward side of each matrix in turn; none without matrices."""
    if not bases.rank.size:
        return {}
    return {"basis_rank": np.asarray(bases.rank), "basis_dropped_residual": np.asarray(bases.dropped)}


def _diagnostics(samples: list[Fluctuations]) -> dict[str, Any]:
    return {
        "influence_rank": max(s.rank for s in samples),
        "influence_remainder": max(s.remainder for s in samples),
        "probe_variance": max(s.probe_variance for s in samples),
    }


def _numpy(tree: dict[str, Array]) -> Arrays:
    return {name: np.asarray(value) for name, value in tree.items()}
