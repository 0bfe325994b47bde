"""The theory half of an experiment: infinite width, Sigma, b, and the error of each.

Infinite width comes from large simulations (`infinite_width`), Sigma and b from draws of small networks
(`finite_width`). The number of neurons and of draws follow from a stated error, unless the experiment names them.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from fwdmft.checkpoint import Checkpoint
from fwdmft.errors import InputError
from fwdmft.meanfield import simulation
from fwdmft.meanfield.controls import Made, about_mean, make_controls
from fwdmft.meanfield.dynamics import Drive, make_drive, updates
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.meanfield.finite_width import JUDGED, FiniteWidth, Wanted, finite_width
from fwdmft.meanfield.infinite_width import (
    MOST,
    Arrays,
    Infinite,
    Report,
    gradient_flow_ladders,
    infinite_width,
    noise_of,
    sobol_error,
    too_many_vectors,
)
from fwdmft.meanfield.layers import TWO_TIME_DIMS, strengths
from fwdmft.meanfield.responses import is_supported, response_functions
from fwdmft.meanfield.samples import Sampler
from fwdmft.meanfield.simulation import STRENGTH, Observing
from fwdmft.meanfield.task import TheoryTask
from fwdmft.optimization import Rung

CONTROL_NEURONS, CONTROL_TIMES, CONTROL_TOLERANCE = 4096, 5, 1e-4
"""The simulation behind the control variates: most neurons, times of contributions, and what bases may leave out."""

CONTROL_BYTES = 1 << 29
"""Memory that its record may take."""


@dataclass(frozen=True)
class TheoryResult:
    """Arrays have time first, then the dimensions named in `dims`.

    mean: at infinite width, with Monte-Carlo `standard_error`. variance: N Var. bias: N (E q_N - q). Those that were
    not asked for are empty. prediction_covariance: (time, point, output, time, point, output) or None.
    equal_time_covariances, prediction_biases: N Cov among the outputs of one point (group, time, point, output,
    output) and b of predictions (group, time, point, output) as each group of draws has them, or None.
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


def solve(
    task: TheoryTask, report: Report = lambda stage, done, total: None, checkpoint: Checkpoint | None = None
) -> TheoryResult:
    """Run the theory. Call it where JAX computes in float64.

    Raises ComputationError when training diverges at infinite width, when its vectors are too many for the neurons, or
    when gradient flow does not converge; InputError when responses are asked of a network they are not defined for.
    """
    check_responses(task)
    spec, clock = task.spec, _Clock()
    task = replace(task, equations=task.equations.resolving(spec.basis_tolerance))
    fine, coarse = gradient_flow_ladders(task)
    infinite = infinite_width(task, fine, report)
    result: dict[str, Any] = {"times": task.times, "diagnostics": {"substeps": fine[-1].substeps}}
    result["diagnostics"]["seconds_infinite_width"] = clock.lap()
    if infinite is not None:
        task = replace(task, equations=task.equations.with_room(_capacities(infinite.equations)))
        result["diagnostics"] |= _bases_diagnostics(infinite) | {"neurons": infinite.neurons}
        if spec.responses:
            result["responses"] = _responses(task, infinite.neurons, report)
    elif spec.responses:
        raise too_many_vectors(MOST if spec.neurons is None else spec.neurons)
    corrections = None
    if spec.fluctuations or spec.bias or infinite is None:
        made = _controls(task, coarse, infinite)
        result["diagnostics"]["seconds_controls"] = clock.lap()
        corrections = _finite_width(task, coarse, infinite, made, report, checkpoint)
        result["diagnostics"] |= _draw_diagnostics(corrections, made) | {"seconds_draws": clock.lap()}
    return TheoryResult(
        dims=task.equations.dims | (TWO_TIME_DIMS if task.two_time else {}),
        **result,
        **_summary(task, infinite, corrections),
    )


class _Clock:
    """Processor seconds between laps."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        seconds, self._last = now - self._last, now
        return seconds


def _capacities(equations: FieldEquations) -> tuple[tuple[int, int], ...]:
    return tuple(matrix.capacities for matrix in equations.matrices)


def _controls(task: TheoryTask, ladder: tuple[Rung, ...], infinite: Infinite | None) -> Made | None:
    """Control variates, whose means are those of all neurons behind q; None if they would cost too much.

    Then the sampling errors of q and of these means cancel, as far as control variates tell q.
    """
    if infinite is None or task.plan.stream is not None:
        return None
    count = min(CONTROL_NEURONS, infinite.neurons)
    # In the lazy limit nothing moves, so the first forward pass tells all.
    plan = replace(task.plan, learning_rates=np.zeros(1), batches=None) if task.lazy else task.plan
    equations = task.equations.with_richness(1.0) if task.lazy else task.equations
    loose = equations.resolving(max(CONTROL_TOLERANCE, task.spec.basis_tolerance))
    drive = make_drive(plan.on_ladder(ladder[-1:]), task.loss, task.y, task.train, -(-plan.steps // CONTROL_TIMES))
    seed = task.spec.seed
    fitted = simulation.infinite_width(loose, lambda e: noise_of(e, count, seed, 0), drive, Observing())
    if fitted is None or _record_bytes(fitted.equations, drive, ladder) > CONTROL_BYTES:
        return None
    made = make_controls(fitted.equations, noise_of(fitted.equations, count, seed, 0), drive)
    every = (noise_of(fitted.equations, infinite.neurons, seed, i) for i in range(task.spec.replicates))
    return made._replace(controls=about_mean(made.controls, every))


def _record_bytes(equations: FieldEquations, drive: Drive, ladder: tuple[Rung, ...]) -> int:
    blocks = updates(drive, ladder[-1].substeps)
    numbers = sum(
        vectors * (own + other * matrix.offsets + vectors)
        for matrix in equations.matrices
        for own, other, vectors in zip(matrix.capacities, matrix.capacities[::-1], matrix.blocks, strict=True)
    )
    return 8 * blocks * numbers


def _finite_width(
    task: TheoryTask,
    ladder: tuple[Rung, ...],
    infinite: Infinite | None,
    made: Made | None,
    report: Report,
    checkpoint: Checkpoint | None,
) -> FiniteWidth:
    spec = task.spec
    drive, observing = task.drive(ladder), Observing(task.two_time, bool(task.equations.layers))

    def sampler(width: int) -> Sampler:
        narrow, wide = (task.equations.with_richness(task.richness(each)) for each in (width, 2 * width))
        return Sampler(narrow, wide, drive, made.controls if made else None, width, observing)

    covariances = made.covariances if made else np.zeros((1, 0, 0))
    q = None
    if infinite is not None:
        q = infinite.mean | _strength(infinite.mean), infinite.spread | _strength(infinite.spread)
    wanted = Wanted(
        spec.relative_error, spec.bias, spec.draws, spec.draw_width, spec.covariance and spec.fluctuations, spec.seed
    )
    return finite_width(sampler, covariances, q, wanted, report, checkpoint)


def _strength(q: Arrays) -> Arrays:
    if "feature_kernel" not in q:
        return {}
    return {
        STRENGTH: np.asarray(strengths({name: jnp.asarray(q[name]) for name in ("feature_kernel", "gradient_kernel")}))
    }


def _summary(task: TheoryTask, infinite: Infinite | None, corrections: FiniteWidth | None) -> dict[str, Any]:
    """What the result holds of q, Sigma and b."""
    if corrections is None:
        assert infinite is not None
        return {"mean": infinite.mean, "standard_error": infinite.spread}
    found, layout, spec = corrections.estimates, corrections.layout, task.spec
    limits = found.mean + 2 * found.change
    limit = limits.mean(axis=0), limits.std(axis=0, ddof=1) / np.sqrt(len(limits))
    flat = {"sigma": found.sigma, "bias": (corrections.bias.value, corrections.bias.error), "limit": limit}
    named = {name: [layout.split(a) for a in pair] for name, pair in flat.items()}
    for parts in named.values():
        for part in parts:
            part.pop(STRENGTH, None)
    variance = named["sigma"][0]
    if infinite is None:
        summary: dict[str, Any] = {"mean": named["limit"][0], "standard_error": named["limit"][1]}
    else:
        neurons_in_all = infinite.neurons * task.spec.replicates
        errors = {
            name: sobol_error(spread, np.maximum(variance[name], 0) / neurons_in_all)
            for name, spread in infinite.spread.items()
        }
        summary = {"mean": infinite.mean, "standard_error": errors}
    outputs, layers = layout.split_pairs(found.pairs)
    summary["equal_time_covariances"] = outputs
    if spec.fluctuations:
        summary |= {"variance": variance, "variance_standard_error": named["sigma"][1]}
        summary["layer_covariance"] = None if layers is None else layers.mean(axis=0)
        if found.full is not None:
            shape = layout.shapes["prediction"]
            summary["prediction_covariance"] = found.full.reshape(*shape, *shape)
    if spec.bias:
        summary |= {"bias": named["bias"][0], "bias_standard_error": named["bias"][1]}
        summary["prediction_biases"] = layout.split(corrections.bias.groups)["prediction"]
    return summary


def _draw_diagnostics(found: FiniteWidth, made: Made | None) -> dict[str, Any]:
    """draws, draw_width; relative errors reached; what control variates leave; and the self-check.

    self_check: q from draws alone, E q_n less b/n, less q of the large simulation, in standard errors, root mean square
    and largest, over f and K.
    """
    estimates, layout = found.estimates, found.layout
    variance, left, check = (layout.split(a) for a in (estimates.variance, estimates.left, found.bias.check))
    whole = float(np.sum(variance["prediction"]))
    scores = np.concatenate([check[name][variance[name] > 0] for name in JUDGED])
    return {
        "draws": found.draws,
        "draw_width": found.width,
        "relative_error_variance": found.errors["sigma"],
        "relative_error_bias": found.errors["bias"],
        "control_variates": 0 if made is None else made.controls.count,
        "variance_left": float(np.sum(variance["prediction"] * left["prediction"])) / whole if whole > 0 else 0.0,
        "self_check": float(np.sqrt(np.mean(scores**2))) if scores.size else 0.0,
        "self_check_largest": float(np.max(np.abs(scores), initial=0.0)),
    }


def check_responses(task: TheoryTask) -> None:
    """Raise InputError if response functions are asked for where they cannot be computed."""
    expected = {
        "a plain, fully connected network with two hidden layers or more, and one output": is_supported(task.equations),
        "a richness of order one, as without it neurons do not respond": not task.lazy,
        "gradient descent, of which every step is kept in mind": task.plan.tolerance is None,
    }
    for needed, given in expected.items():
        if task.spec.responses and not given:
            raise InputError("theory.responses", True, f"false, or {needed}")


def _responses(task: TheoryTask, count: int, report: Report) -> Arrays:
    """Means over the simulations of the infinite width, each with its share of the neurons, and standard errors."""
    spec, kept = task.spec, np.asarray(task.times)
    drive = task.drive(task.plan.ladder, save_every=1)
    samples = []
    for replicate in range(spec.replicates):
        report("responses", replicate, spec.replicates)
        noise = noise_of(task.equations, count, spec.seed, replicate)
        found = response_functions(task.equations, noise, drive, -(-count // spec.replicates))
        pair = {"feature_response": found.feature, "gradient_response": found.gradient}
        samples.append({name: np.asarray(a).take(kept, axis=1).take(kept, axis=3) for name, a in pair.items()})
    report("responses", spec.replicates, spec.replicates)
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    error = {f"{name}_standard_error": a.std(axis=0, ddof=1) / np.sqrt(len(a)) for name, a in stacked.items()}
    return {name: a.mean(axis=0) for name, a in stacked.items()} | error


def _bases_diagnostics(infinite: Infinite) -> Arrays:
    """Ranks and dropped shares, forward and backward side of each matrix in turn; none without matrices."""
    if not infinite.bases.rank.size:
        return {}
    return {"basis_rank": infinite.bases.rank, "basis_dropped_residual": infinite.bases.dropped}
