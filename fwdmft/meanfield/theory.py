"""The theory half of an experiment: infinite width, Sigma, b, and the error of each.

Infinite width is the mean over R large simulations with S neurons each; their spread, steadied by what independent
neurons would leave, gives its standard error (`sobol_error`). Sigma and b come from draws of small networks
(`finite_width`). S and the number of draws follow from a stated error, unless the experiment names them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.checkpoint import Checkpoint
from fwdmft.errors import ComputationError, InputError
from fwdmft.meanfield import neurons, room
from fwdmft.meanfield.controls import Made, about_mean, make_controls
from fwdmft.meanfield.dynamics import Drive, make_drive, updates
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.meanfield.finite_width import JUDGED, FiniteWidth, Limit, Wanted, finite_width, sobol_error
from fwdmft.meanfield.layers import TWO_TIME_DIMS
from fwdmft.meanfield.lazy import LazyEquations
from fwdmft.meanfield.responses import is_supported, response_functions
from fwdmft.meanfield.samples import Sampler
from fwdmft.meanfield.simulation import STRENGTH, Large, Observing, gaussian_matrices, infinite_width
from fwdmft.optimization import Plan, Rung, ladders
from fwdmft.spec.halves import TheorySpec
from fwdmft.spec.loss import LossSpec

DERIVATIVE_TOLERANCE = 1e-4
"""Relative accuracy of the gradient-flow limit asked of draws and networks, whose own errors are larger."""

FEWEST, MOST = 1 << 10, 1 << 17
"""Neurons per simulation: the first try, and the last."""

SHARE = 0.25
"""The error of q is to be so much smaller than the stated one: q costs little, and b is a difference to it."""

CONTROL_NEURONS, CONTROL_TIMES, CONTROL_TOLERANCE = 4096, 5, 1e-4
"""The simulation behind the control variates: most neurons, times of contributions, and what bases may leave out."""

CONTROL_BYTES = 1 << 29
"""Memory that its record may take."""

Arrays = dict[str, np.ndarray]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TheoryTask:
    """What the theory is asked.

    equations: at infinite width. richness: gamma0 at a width; `lazy` says that it vanishes at infinite width.
    y: (point, output). train: (point,) mask. times: the saved steps.
    """

    equations: FieldEquations
    richness: Callable[[int], float]
    lazy: bool
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

    @property
    def two_time(self) -> bool:
        """Whether two-time kernels are computed."""
        return self.spec.two_time and bool(self.equations.layers)

    @property
    def at_infinite_width(self) -> FieldEquations:
        """The equations, or their lazy limit."""
        return LazyEquations(self.equations) if self.lazy else self.equations

    def drive(self, ladder: tuple[Rung, ...], save_every: int | None = None) -> Drive:
        """The drive of a large simulation or a draw."""
        every = self.spec.save_every if save_every is None else save_every
        return make_drive(self.plan.on_ladder(ladder), self.loss, self.y, self.train, every)

    @cached_property
    def site_numbers(self) -> int:
        """How many numbers the fields are of one neuron of every population at one time."""
        equations, few = self.equations, 4
        counts = {population.name: population.gaussians for population in equations.populations}
        counts |= {supply.name: supply.count for supply in equations.supplies}
        noise = {name: jax.ShapeDtypeStruct((count, few), float) for name, count in counts.items()}

        def fields(noise: dict[str, Array]) -> Any:
            state = equations.initial(noise, gaussian_matrices(equations, noise, False), momentum=False)
            return equations.sites(equations.forward(state, noise)[1])

        size = sum(a.size for a in jax.tree.leaves(jax.eval_shape(fields, noise)))
        return size // few + (self.rows - len(self.y)) * (1 + self.y.shape[1])


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
    infinite = _infinite_width(task, fine, report)
    result: dict[str, Any] = {"times": task.times, "diagnostics": {"substeps": fine[-1].substeps}}
    result["diagnostics"]["seconds_infinite_width"] = clock.lap()
    if infinite is not None:
        task = replace(task, equations=task.equations.with_room(_capacities(infinite.equations)))
        result["diagnostics"] |= _bases_diagnostics(infinite) | {"neurons": infinite.neurons}
        if spec.responses:
            result["responses"] = _responses(task, infinite.neurons, report)
    elif spec.responses:
        raise _too_many_vectors(MOST if spec.neurons is None else spec.neurons)
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


class Infinite(NamedTuple):
    """q from R simulations (simulation, time, ...) of `neurons` neurons, and the largest bases that they took."""

    each: dict[str, np.ndarray]
    neurons: int
    bases: room.Bases
    equations: FieldEquations

    @property
    def mean(self) -> Arrays:
        return {name: a.mean(axis=0) for name, a in self.each.items()}

    @property
    def spread(self) -> Arrays:
        """Standard error of the mean, from the spread alone."""
        return {name: a.std(axis=0, ddof=1) / np.sqrt(len(a)) for name, a in self.each.items()}


def _infinite_width(task: TheoryTask, ladder: tuple[Rung, ...], report: Report) -> Infinite | None:
    """As many neurons as the error asks for; None if the vectors of training are too many for them."""
    spec, count = task.spec, task.spec.neurons or FEWEST
    while True:
        found = _simulations(task, count, ladder, report)
        if spec.neurons is not None or count >= MOST:
            return found
        if found is not None:
            error = max(_relative(found.spread[name], found.mean[name]) for name in JUDGED)
            if error <= SHARE * spec.relative_error:
                return found
            excess = error / (SHARE * spec.relative_error)
            count *= 2 ** int(np.ceil(np.log2(np.clip(excess, 2, 32))))
        else:
            count *= 4
        count = min(count, MOST)


def _relative(error: np.ndarray, value: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(value**2)))
    return float(np.sqrt(np.mean(error**2))) / size if size > 0 else 0.0


def _simulations(task: TheoryTask, count: int, ladder: tuple[Rung, ...], report: Report) -> Infinite | None:
    found: list[Large] = []
    equations, stage = task.at_infinite_width, f"infinite width, {count} neurons"
    for replicate in range(task.spec.replicates):
        report(stage, replicate, task.spec.replicates)
        large = _large(task, equations, count, replicate, ladder)
        if large is None:
            return None
        check_finite(large.seen["prediction"], task.times)
        equations = large.equations
        found.append(large)
    report(stage, task.spec.replicates, task.spec.replicates)
    each = {name: np.stack([large.seen[name] for large in found]) for name in found[0].seen}
    bases = room.Bases(*(np.max(parts, axis=0) for parts in zip(*(large.bases for large in found), strict=True)))
    return Infinite(each, count, bases, equations)


def _large(
    task: TheoryTask, equations: FieldEquations, count: int, replicate: int, ladder: tuple[Rung, ...]
) -> Large | None:
    def draw(equations: FieldEquations) -> dict[str, Array]:
        return _noise(equations, count, task.spec.seed, replicate)

    return infinite_width(equations, draw, task.drive(ladder), Observing(task.two_time))


def _noise(equations: FieldEquations, count: int, seed: int, replicate: int) -> dict[str, Array]:
    noise = neurons.sample(equations.populations, equations.supplies, count, seed, replicate)
    return {name: jnp.asarray(a) for name, a in noise.items()}


def _capacities(equations: FieldEquations) -> tuple[tuple[int, int], ...]:
    return tuple(matrix.capacities for matrix in equations.matrices)


def _too_many_vectors(count: int) -> ComputationError:
    return ComputationError(
        f"random matrices act on too many independent vectors for {count} sample neurons; expected at least "
        f"{room.NEURONS_PER_VECTOR} times as many neurons as vectors: raise theory.neurons or theory.basis_tolerance"
    )


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
    fitted = infinite_width(loose, lambda e: _noise(e, count, seed, 0), drive, Observing())
    if fitted is None or _record_bytes(fitted.equations, drive, ladder) > CONTROL_BYTES:
        return None
    made = make_controls(fitted.equations, _noise(fitted.equations, count, seed, 0), drive)
    every = (_noise(fitted.equations, infinite.neurons, seed, i) for i in range(task.spec.replicates))
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
        strength = _strength(infinite.mean), _strength(infinite.spread)
        neurons_in_all = infinite.neurons * spec.replicates
        q = Limit(infinite.mean | strength[0], infinite.spread | strength[1], neurons_in_all)
    wanted = Wanted(
        spec.relative_error, spec.bias, spec.draws, spec.draw_width, spec.covariance and spec.fluctuations, spec.seed
    )
    return finite_width(sampler, covariances, q, wanted, report, checkpoint)


def _strength(q: Arrays) -> Arrays:
    if "feature_kernel" not in q:
        return {}
    from fwdmft.meanfield.layers import strengths

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
        noise = _noise(task.equations, count, spec.seed, replicate)
        found = response_functions(task.equations, noise, drive, -(-count // spec.replicates))
        pair = {"feature_response": found.feature, "gradient_response": found.gradient}
        samples.append({name: np.asarray(a).take(kept, axis=1).take(kept, axis=3) for name, a in pair.items()})
    report("responses", spec.replicates, spec.replicates)
    stacked = {name: np.stack([s[name] for s in samples]) for name in samples[0]}
    error = {f"{name}_standard_error": a.std(axis=0, ddof=1) / np.sqrt(len(a)) for name, a in stacked.items()}
    return {name: a.mean(axis=0) for name, a in stacked.items()} | error


def gradient_flow_ladders(task: TheoryTask) -> tuple[tuple[Rung, ...], tuple[Rung, ...]]:
    """Step-halving ladders that reach the plan's tolerance, and a cruder one for draws and networks.

    Plain gradient descent needs one rung. Raises ComputationError when the longest ladder does not suffice.
    """
    tolerance = task.plan.tolerance
    if tolerance is None:
        return task.plan.ladder, task.plan.ladder
    equations, coarse, before, change = task.at_infinite_width, None, None, np.inf
    count = min(task.spec.neurons or FEWEST, FEWEST)
    for ladder in ladders():
        large = _large(task, equations, count, 0, ladder)
        if large is None:
            raise _too_many_vectors(count)
        equations, f = large.equations, large.seen["prediction"]
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


def _bases_diagnostics(infinite: Infinite) -> Arrays:
    """Ranks and dropped shares, forward and backward side of each matrix in turn; none without matrices."""
    if not infinite.bases.rank.size:
        return {}
    return {"basis_rank": infinite.bases.rank, "basis_dropped_residual": infinite.bases.dropped}
