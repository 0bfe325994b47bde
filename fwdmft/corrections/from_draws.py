"""Sigma and b from draws of small networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections.corrections import Arrays, Corrections
from fwdmft.corrections.drawing import Drawing, Wanted
from fwdmft.corrections.finite_width import NARROWEST, WIDEST, FiniteWidth, Limit, finite_width
from fwdmft.corrections.samples import PARTS, Sampler, at_once, draw_size
from fwdmft.engine.infinite_width import OF_A_FIELD, Infinite, Report
from fwdmft.engine.layers import strengths
from fwdmft.engine.neurons import least_width
from fwdmft.engine.problem import JUDGED, TheoryTask
from fwdmft.engine.simulation import STRENGTH
from fwdmft.errors import InputError
from fwdmft.executors import SideBySide
from fwdmft.in_order import THREADS
from fwdmft.rounding import movement

SMALL = 1e-3
"""gamma0 f, by which training moves neurons' fields, from which on draws are in single precision. Below it, rounding,
6e-8 of these fields, is more than 6e-5 of f; and b is about a hundred times f, less its like."""


def from_draws(
    task: TheoryTask, infinite: Infinite | None, report: Report, checkpoint: Checkpoint | None, side_by_side: SideBySide
) -> Corrections:
    """Sigma and b; q as well, where there is no infinite width."""
    draws = drawn(task, infinite, report, checkpoint, side_by_side)
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
        diagnostics=_diagnostics(draws),
    )


def drawn(
    task: TheoryTask,
    infinite: Infinite | None,
    report: Report,
    checkpoint: Checkpoint | None,
    side_by_side: SideBySide = THREADS,
) -> FiniteWidth:
    """What draws say."""
    spec = task.spec
    training, observing = task.training(), task.observing(strength=bool(task.equations.layers))

    def drawing(width: int) -> Drawing:
        narrow, wide = (task.equations.with_richness(task.richness(each)) for each in (width, PARTS * width))
        count = at_once(draw_size(task.equations, task.site_numbers, width) * (2 if asked.double else 1))
        sampler = Sampler(narrow, wide, training, width, observing, count)
        return Drawing(sampler, asked, report, checkpoint, side_by_side)

    asked = wanted(task, infinite)
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
        # Networks of width r n and their parts.
        2 * PARTS * OF_A_FIELD * task.site_numbers * task.updates,
        moved < SMALL,
    )


def _strength(q: Arrays) -> Arrays:
    return {STRENGTH: np.asarray(strengths(jax.tree.map(jnp.asarray, q)))} if "feature_kernel" in q else {}


def _diagnostics(draws: FiniteWidth) -> dict[str, Any]:
    """draws, draw_width; relative errors reached; and the self-check.

    self_check: q from draws alone, E q_n less b/n, less q of the large simulation, in standard errors, root mean square
    and largest, over f and K.
    """
    estimates, layout = draws.estimates, draws.layout
    variance, check = (layout.split(a) for a in (estimates.variance, draws.bias.check))
    scores = np.concatenate([check[name][variance[name] > 0] for name in JUDGED])
    return {
        "draws": draws.draws,
        "draw_width": draws.width,
        "relative_error_variance": draws.errors["sigma"],
        "relative_error_bias": draws.errors["bias"],
        "self_check": float(np.sqrt(np.mean(scores**2))) if scores.size else 0.0,
        "self_check_largest": float(np.max(np.abs(scores), initial=0.0)),
    }
