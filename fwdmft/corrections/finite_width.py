"""Sigma and b from draws of small networks: how wide they are, how many there are, and what they say.

A pilot of draws shows whether the next order in 1/n is small at width n; if not, n is doubled. Then as many draws are
taken as the stated error asks for. Which draws there are depends on the seed and on numbers alone, never on a clock.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fwdmft.corrections.corrections import Arrays
from fwdmft.corrections.drawing import Drawing, Wanted
from fwdmft.corrections.layout import Layout
from fwdmft.corrections.next_order import ORDINARY, Bias, beyond, bias
from fwdmft.corrections.sample_estimates import STEP, Estimates, Flat, WithError, without_rounding
from fwdmft.corrections.samples import PARTS
from fwdmft.engine import infinite_width
from fwdmft.engine.problem import JUDGED
from fwdmft.engine.sobol_errors import sobol_error
from fwdmft.errors import ComputationError

PILOT = 256
"""Draws from which the width and the number of draws are chosen."""

MOST_NEURONS = 1 << 20
"""Draws times width at most, unless more draws are asked for: those of wide networks are costly."""

NARROWEST, WIDEST = 8, 128
"""Widths n that are tried: the next multiples of what layers of several widths ask for."""

NEXT_ORDER = 0.7
"""Share of the stated error that the next order in 1/n may have in Sigma, see `_judged`."""

LATER = 1.1
"""Growth of variances, in units of what `NEXT_ORDER` allows, from which more draws after the pilot are better made
wider: with the next order at 85 % of the stated error, the rest takes four times as many draws as with none."""

NEXT_ORDER_OF_B = 0.8
"""Share of the stated error of b that its next order may have."""

SEEN = 0.25
"""Share of b that a next order which both equations tell may be: with more, orders beyond it are not small either."""

LESS_PRECISE = 10.0
"""b is a small difference: its error relative to its root mean square may be so many times larger."""

WORTH = 1.15
"""Error in units of the part that any number of draws leaves, below which more of them are not worth their time."""


@dataclass(frozen=True)
class FiniteWidth:
    """Estimates, b, q from draws alone with its error, the layout of their flat arrays, and what they cost.

    errors: reached, of q, sigma and bias.
    more: how many times as many draws the errors that are asked for take, about.
    """

    estimates: Estimates
    bias: Bias
    q: WithError
    layout: Layout
    width: int
    draws: int
    errors: dict[str, float]
    more: float


class Limit(NamedTuple):
    """q at infinite width from a few simulations, and their neurons in all, of a population of width N.

    spread: standard error from their spread alone, not widened. truncation: error that all share.
    """

    mean: Arrays
    spread: Arrays
    truncation: Arrays
    neurons: float
    simulations: int


def finite_width(drawing: Callable[[int], Drawing], q: Limit | None, wanted: Wanted) -> FiniteWidth:
    """Sigma and b.

    drawing: draws at a width. q: None if it is not known. Raises ComputationError if networks of the largest width
    diverge.
    """
    width, widest = wanted.width or _first_width(wanted), multiple_of(wanted.multiple, WIDEST)
    while True:
        fixed = wanted.width is not None or width >= widest
        outcome = _at_width(drawing(width), q, wanted, fixed)
        if isinstance(outcome, FiniteWidth):
            return outcome
        # The next order falls like 1/n.
        width = min(width * 2 ** int(np.ceil(np.log2(outcome))), widest)


def multiple_of(divisor: int, width: int) -> int:
    """The least multiple of a divisor from a width on."""
    return -(-width // divisor) * divisor


def _first_width(wanted: Wanted) -> int:
    """The narrowest at which the next order that b ordinarily has leaves room in its stated error."""
    width = NARROWEST
    if "bias" in wanted.asked:
        least = (1 + 1 / PARTS) * ORDINARY / (NEXT_ORDER_OF_B * LESS_PRECISE * wanted.error)
        width = int(np.clip(1 << math.ceil(math.log2(least)), NARROWEST, WIDEST)) if least > 1 else NARROWEST
    return multiple_of(wanted.multiple, width)


def _at_width(drawing: Drawing, q: Limit | None, wanted: Wanted, fixed: bool) -> FiniteWidth | float:
    """What draws of this width say, as many as the stated error asks for; by how much they are to be wider, unless the
    width is fixed, if the next order is too large."""
    width = drawing.width
    most = wanted.draws or most_draws(width)
    count = min(PILOT, most)
    while True:
        estimates = drawing.extend(count)
        finite = bool(np.isfinite(estimates.sigma[0]).all())
        if finite:
            estimates = without_rounding(estimates, width, drawing.sizes, drawing.rounding)
        excess = _next_order(estimates, drawing.layout, wanted) if finite else 2.0
        if excess > (1.0 if count <= PILOT else LATER) and not fixed:
            return excess
        if not finite:
            raise ComputationError(
                f"some networks of width {width} diverge; expected training that converges at the widths that Sigma "
                "and b are drawn from: raise theory.draw_width, or lower optimizer.learning_rate"
            )
        judged = _judged(estimates, drawing, q, wanted)
        drawing.tell(judged.errors)
        excess = max(_left_by_draws(estimates, drawing.layout, wanted), _seen_in_b(judged, wanted))
        if excess > 1 and count > PILOT and not fixed:
            return excess
        # The error is known roughly at first: no more than four times as many at once.
        more = wanted.draws or min(most, needed(judged), 4 * drawing.count)
        if more <= drawing.count:
            return judged
        count = more


def _judged(estimates: Estimates, drawing: Drawing, q: Limit | None, wanted: Wanted) -> FiniteWidth:
    """With b, with what the next order adds to the error of Sigma, and with the errors reached."""
    layout = drawing.layout
    relative, next_order_of_q = np.zeros(layout.size), np.zeros(layout.size)
    q_value, q_error = _limit(estimates)
    for where in layout.slices.values():
        relative[where] = STEP * _excess(estimates, where)
        next_order_of_q[where] = _next_order_of_q(estimates, where)
    q_error = np.hypot(q_error, next_order_of_q)
    # A width that is too narrow for f or K is so for all: the next order of one may be larger than its variances say.
    relative = np.maximum(relative, max(float(relative[layout.slices[name]].max()) for name in JUDGED))
    sigma, error = estimates.sigma
    next_order = np.maximum(
        relative**2 / PARTS * layout.sizes(estimates.variance), _next_order_of_entries(estimates, estimates.growth[0])
    )
    next_order = np.where(estimates.variance > 0, next_order, 0.0)
    estimates = estimates._replace(sigma=(sigma, np.hypot(error, next_order)))
    known = None
    if q is not None:
        independent = np.maximum(sigma, 0.0) / q.neurons
        alone = layout.split(independent)
        off = layout.join({name: sobol_error(q.spread[name], alone[name], q.simulations) for name in alone})
        known = layout.join(q.mean), np.hypot(off, layout.join(q.truncation))
    b = bias(estimates.mean, estimates.change, drawing.width, known, beyond(relative), layout.sizes)
    # b is n times a difference of draws: what varies least is known no better than they are.
    rounding = STEP * drawing.width * drawing.rounding * np.abs(estimates.mean.mean(axis=0))
    b = b._replace(error=np.hypot(b.error, rounding))
    each = {
        "q": (q_value, q_error, next_order_of_q),
        "sigma": (*estimates.sigma, next_order),
        "bias": (b.value, b.error, np.hypot(b.left, rounding)),
    }
    errors = {name: max(_relative(error, value, layout)) for name, (value, error, _) in each.items()}
    more = max(_more(*each[name], _target(name, wanted), layout) for name in wanted.asked)
    return FiniteWidth(estimates, b, (q_value, q_error), layout, drawing.width, drawing.count, errors, more)


def _limit(estimates: Estimates) -> WithError:
    """q from draws alone, up to 1/n^2, and its standard error."""
    each = estimates.mean + STEP * estimates.change
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))


def _rms(a: Float[np.ndarray, "*axis"]) -> float:
    return float(np.sqrt(np.mean(a**2)))


def _excess(estimates: Estimates, where: slice) -> float:
    """Growth of a variance from n to r n, relative to it, as far as it is beyond its error."""
    growth, error = (a[where] for a in estimates.growth)
    size = _rms(estimates.variance[where])
    return np.sqrt(max(_rms(growth) ** 2 - _rms(error) ** 2, 0.0)) / size if size > 0 else 0.0


def _next_order_of_entries(estimates: Estimates, growth: Flat) -> Flat:
    """Of Sigma, entry by entry, if their variances grow so much from n to r n.

    Where predictions have been learned, variances are small, and may grow by more than the others of their kind do.
    """
    size = PARTS * np.maximum(estimates.variance, np.abs(estimates.sigma[0]))
    return np.divide((STEP * growth) ** 2, size, where=estimates.variance > 0, out=np.zeros_like(growth))


def _left_by_draws(estimates: Estimates, layout: Layout, wanted: Wanted) -> float:
    """By how much draws have to be wider if their next order alone leaves more than the stated error in Sigma, however
    many they are; 0 where it does not, or where it is not known from the noise of few draws."""
    excess = 0.0
    for where in (layout.slices[name] for name in JUDGED if "sigma" in wanted.asked):
        left, noise = (_rms(_next_order_of_entries(estimates, growth)[where]) for growth in estimates.growth)
        if left > 2 * noise:
            excess = max(excess, left / (_rms(estimates.sigma[0][where]) * wanted.error))
    # It falls like 1/n^2.
    return excess**0.5


def _seen_in_b(judged: FiniteWidth, wanted: Wanted) -> float:
    """By how much draws have to be wider for what is seen of the next order of b to be small beside it."""
    if "bias" not in wanted.asked:
        return 0.0
    # At the last time, whose size is that of all times.
    return max(float(judged.bias.seen[judged.layout.slices[name]][-1]) for name in JUDGED) / SEEN


def _next_order_of_q(estimates: Estimates, where: slice) -> float:
    """Of q_n = q + (b + k) / n, extrapolation leaves k / (r n), where k is about b times the next order of Sigma."""
    return STEP * _excess(estimates, where) * STEP * _rms(estimates.change.mean(axis=0)[where]) / PARTS


def _next_order(estimates: Estimates, layout: Layout, wanted: Wanted) -> float:
    """The next order of what is asked for over what it may be, to first order in 1/n."""
    excess, q = 0.0, _limit(estimates)[0]
    for where in (layout.slices[name] for name in JUDGED):
        if wanted.asked == ("q",):
            size = _rms(q[where])
            share = _next_order_of_q(estimates, where) / size if size > 0 else 0.0
        else:
            # Error of Sigma / Sigma.
            share = (STEP * _excess(estimates, where)) ** 2 / PARTS
        excess = max(excess, float(np.sqrt(share / (NEXT_ORDER * wanted.error))))
    return excess


def _relative(error: Flat, value: Flat, layout: Layout) -> list[float]:
    """Error relative to the root mean square, of f and of K."""
    return [infinite_width.relative(error[layout.slices[name]], value[layout.slices[name]]) for name in JUDGED]


def _target(name: str, wanted: Wanted) -> float:
    return wanted.error * (LESS_PRECISE if name == "bias" else 1.0)


def _more(value: Flat, error: Flat, left: Flat, target: float, layout: Layout) -> float:
    """How many times as many draws reach this relative error, or what is not worth more. left: part that stays."""
    factors = [0.0]
    for reached, stays in zip(_relative(error, value, layout), _relative(left, value, layout), strict=True):
        if reached > (least := max(target, WORTH * stays)):
            factors.append((reached**2 - stays**2) / (least**2 - stays**2))
    return max(factors)


def most_draws(width: int) -> int:
    """Draws of this width at most, unless more are asked for."""
    return max(MOST_NEURONS // width, PILOT)


def needed(judged: FiniteWidth) -> int:
    """About how many draws the stated error asks for."""
    return judged.draws if judged.more <= 1 else int(1.1 * judged.draws * judged.more)
