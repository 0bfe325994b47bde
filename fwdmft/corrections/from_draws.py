"""Sigma and b from draws of small networks; for small errors with control variates from one more large simulation."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections.controls import COMPONENTS, Known, known, make_controls
from fwdmft.corrections.corrections import Arrays, Corrections
from fwdmft.corrections.drawing import Drawing, Wanted, components
from fwdmft.corrections.finite_width import NARROWEST, WIDEST, FiniteWidth, Limit, finite_width
from fwdmft.corrections.samples import PARTS, Sampler, at_once, draw_size
from fwdmft.engine import simulation
from fwdmft.engine.dynamics import TrainingSignal, training_signal, updates
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.infinite_width import OF_A_FIELD, Infinite, Report, noise_of
from fwdmft.engine.layers import strengths
from fwdmft.engine.neurons import least_width
from fwdmft.engine.problem import JUDGED, TheoryTask
from fwdmft.engine.simulation import STRENGTH, Crowded, Observing
from fwdmft.errors import InputError
from fwdmft.executors import SideBySide
from fwdmft.in_order import THREADS
from fwdmft.rounding import movement

CONTROL_NEURONS, CONTROL_TIMES, CONTROL_TOLERANCE = 4096, 5, 1e-4
"""The simulation behind the control variates: most neurons, times of contributions, and what bases may leave out."""

PAYING = 0.01
"""Stated error from which on control variates are worth their time. At 2 % draws alone took half of the processor time
(depth 3, tanh: 17 s for 32; two layers, ReLU: 3.3 for 7.0; depth 2, neural tangent: 12 for 15). At .7 % control
variates save a factor of 1 to 3 (depth 3: Sigma of f 92 s for 250, of K 92 for 92; b of ReLU 12 for 20)."""

FEWEST_COMPONENTS = 8
"""Components of a population below which control variates tell too little to be worth their time."""

DIRECTIONS = 8
"""Directions of a matrix, in units of the width n, of which control variates still tell enough: networks can follow as
many as they have neurons, n and r n."""

SMALL = 1e-3
"""gamma0 f, by which training moves neurons' fields, from which on draws are in single precision. Below it, rounding,
6e-8 of these fields, is more than 6e-5 of f; and b is about a hundred times f, less its like."""

KURTOSIS, SHARE_OF_COVARIANCE, MOST_PARTS = 4.0, 0.4, 32
"""From S neurons the covariance of control variates has a relative error of root 2 k / S, with k about this: the share
of the stated error that it may have, and the most samplings."""

CONTROL_BYTES = 1 << 29
"""Memory that its record may take."""


def from_draws(
    task: TheoryTask, infinite: Infinite | None, report: Report, checkpoint: Checkpoint | None, side_by_side: SideBySide
) -> Corrections:
    """Sigma and b; q as well, where there is no infinite width."""
    made = control_variates(task, infinite)
    draws = drawn(task, infinite, made, report, checkpoint, side_by_side)
    estimates, layout = draws.estimates, draws.layout
    pairs = (*estimates.sigma, draws.bias.value, draws.bias.error, *draws.q)
    variance, variance_error, bias, bias_error, *q = (layout.split(flat) for flat in pairs)
    for part in (variance, variance_error, bias, bias_error, *q):
        part.pop(STRENGTH, None)
    outputs, layers = layout.split_pairs(estimates.pairs)
    shape = layout.shapes["prediction"]
    return Corrections(
        variance,
        variance_error,
        bias,
        bias_error,
        prediction_covariance=None if estimates.full is None else estimates.full.reshape(*shape, *shape),
        equal_time_covariances=outputs,
        prediction_biases=layout.split(draws.bias.groups)["prediction"],
        layer_covariance=None if layers is None else layers.mean(axis=0),
        limit=(q[0], q[1]),
        diagnostics=_diagnostics(draws, made),
    )


def control_variates(task: TheoryTask, infinite: Infinite | None, parts: int | None = None) -> Known | None:
    """Control variates, whose means are those of all neurons behind q; None if they would cost more than they save.

    Then the sampling errors of q and of these means cancel, as far as control variates tell q. parts: samplings that
    their covariance is taken from; None for as many as the stated error asks for.
    """
    if infinite is None or task.plan.stream is not None or task.spec.relative_error > PAYING:
        return None
    width = task.spec.draw_width or NARROWEST
    if np.max(infinite.bases.rank, initial=0) > 2 * DIRECTIONS * width:
        # Looser bases will hardly have half as many.
        return None
    count = min(CONTROL_NEURONS, infinite.neurons)
    # In the lazy limit nothing moves, so the first forward pass tells all.
    plan = task.plan.on_ladder(task.plan.ladder[-1:])
    plan = replace(plan, learning_rates=np.zeros(1), batches=None) if task.lazy else plan
    equations = task.equations.with_richness(1.0) if task.lazy else task.equations
    loose = equations.resolving(max(CONTROL_TOLERANCE, task.spec.basis_tolerance))
    loose = loose.learning(float(infinite.equations.learned))
    training = training_signal(plan, task.loss, task.y, task.train, -(-plan.steps // CONTROL_TIMES))
    seed = task.spec.seed
    fitted = simulation.infinite_width(loose, lambda e: noise_of(e, count, seed, 0), training, Observing())
    if isinstance(fitted, Crowded) or np.max(fitted.bases.rank, initial=0) > DIRECTIONS * width:
        return None
    if _record_bytes(fitted.equations, training) > CONTROL_BYTES:
        return None
    observables = sum(a.size for a in infinite.mean.values())
    most = min(COMPONENTS, components(observables) // len(task.equations.populations))
    if most < FEWEST_COMPONENTS:
        return None
    controls = make_controls(fitted.equations, noise_of(fitted.equations, count, seed, 0), training, most)
    replicates = task.spec.replicates
    every = (noise_of(fitted.equations, infinite.neurons, seed, i) for i in range(replicates))
    # Numbered from the last of the simulations of infinite width.
    numbered = range(replicates, replicates + (parts or covariance_parts(task.spec.relative_error)))
    return known(controls, every, (noise_of(fitted.equations, CONTROL_NEURONS, seed, i) for i in numbered))


def covariance_parts(error: float) -> int:
    """Samplings of `CONTROL_NEURONS` neurons that leave the covariance of control variates a share of the error."""
    needed = 2 * KURTOSIS / (SHARE_OF_COVARIANCE * error) ** 2
    return int(np.clip(needed / CONTROL_NEURONS, 4, MOST_PARTS))


def _record_bytes(equations: FieldEquations, training: TrainingSignal) -> int:
    blocks = updates(training, training.ladder[-1].substeps)
    numbers = sum(
        vectors * (own + other * matrix.offsets + vectors)
        for matrix in equations.matrices
        for own, other, vectors in zip(matrix.capacities, matrix.capacities[::-1], matrix.blocks, strict=True)
    )
    return 8 * blocks * numbers


def drawn(
    task: TheoryTask,
    infinite: Infinite | None,
    made: Known | None,
    report: Report,
    checkpoint: Checkpoint | None,
    side_by_side: SideBySide = THREADS,
) -> FiniteWidth:
    """What draws say, with these control variates."""
    spec = task.spec
    training, observing = task.training(), task.observing(strength=bool(task.equations.layers))

    def drawing(width: int) -> Drawing:
        narrow, wide = (task.equations.with_richness(task.richness(each)) for each in (width, PARTS * width))
        count = at_once(draw_size(task.equations, task.site_numbers, width) * (2 if asked.double else 1))
        sampler = Sampler(narrow, wide, training, made.controls if made else None, width, observing, count)
        return Drawing(sampler, covariances, asked, report, checkpoint, side_by_side)

    asked = wanted(task, infinite)
    covariances = made.covariances if made else np.zeros((1, 0, 0))
    q = None
    if infinite is not None:
        arrays = infinite.mean, infinite.spread, infinite.truncation
        mean, spread, truncation = (each | _strength(each) for each in arrays)
        q = Limit(mean, spread, truncation, infinite.width * spec.replicates, spec.replicates)
    return finite_width(drawing, q, asked)


def draw_multiple(task: TheoryTask) -> int:
    """What divides the width of draws, so that all layers have whole numbers of neurons.

    Raises InputError where there is no such width, or the one that is asked for is none.
    """
    multiple, width = least_width(task.equations.populations, WIDEST), task.spec.draw_width
    if width is not None and width % multiple:
        expected = f"a multiple of {multiple}, so that all layers have whole numbers of neurons"
        raise InputError("theory.draw_width", width, expected)
    return multiple


def wanted(task: TheoryTask, infinite: Infinite | None) -> Wanted:
    """What draws are asked for."""
    spec = task.spec
    asked = {"q": infinite is None, "sigma": spec.fluctuations, "bias": spec.bias}
    learned = task.y if infinite is None else infinite.mean["prediction"]
    moved = movement(task.richness(spec.draw_width or NARROWEST), learned)
    return Wanted(
        spec.relative_error,
        tuple(name for name, needed in asked.items() if needed),
        spec.draws,
        spec.draw_width,
        draw_multiple(task),
        spec.covariance and spec.fluctuations,
        spec.seed,
        # Networks of width r n, their parts, and mean-field neurons.
        3 * PARTS * OF_A_FIELD * task.site_numbers * task.updates,
        moved < SMALL,
    )


def _strength(q: Arrays) -> Arrays:
    return {STRENGTH: np.asarray(strengths(jax.tree.map(jnp.asarray, q)))} if "feature_kernel" in q else {}


def _diagnostics(draws: FiniteWidth, made: Known | None) -> dict[str, Any]:
    """draws, draw_width; relative errors reached; what control variates leave; and the self-check.

    self_check: q from draws alone, E q_n less b/n, less q of the large simulation, in standard errors, root mean square
    and largest, over f and K.
    """
    estimates, layout = draws.estimates, draws.layout
    variance, left, check = (layout.split(a) for a in (estimates.variance, estimates.left, draws.bias.check))
    whole = float(np.sum(variance["prediction"]))
    scores = np.concatenate([check[name][variance[name] > 0] for name in JUDGED])
    return {
        "draws": draws.draws,
        "draw_width": draws.width,
        "relative_error_variance": draws.errors["sigma"],
        "relative_error_bias": draws.errors["bias"],
        "control_variates": 0 if made is None else made.controls.count,
        "variance_left": float(np.sum(variance["prediction"] * left["prediction"])) / whole if whole > 0 else 0.0,
        "self_check": float(np.sqrt(np.mean(scores**2))) if scores.size else 0.0,
        "self_check_largest": float(np.max(np.abs(scores), initial=0.0)),
    }
