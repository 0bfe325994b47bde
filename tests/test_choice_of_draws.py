"""What draws say: estimates of a function that is known, which draws are chosen, and what errors hold."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fwdmft.corrections import next_order
from fwdmft.corrections.drawing import Drawn, Wanted
from fwdmft.corrections.finite_width import (
    PILOT,
    SEEN,
    WORTH,
    FiniteWidth,
    Limit,
    _at_width,
    _judged,
    _limit,
    most_draws,
)
from fwdmft.corrections.layout import Layout
from fwdmft.corrections.next_order import ORDINARY
from fwdmft.corrections.sample_estimates import GROUPS, STEP, Estimates, Sums, estimates
from fwdmft.corrections.samples import PARTS
from fwdmft.testing.agreement import Estimate, assert_zero, rarely_exceeded

WANTED = Wanted(0.1, ("sigma", "bias"), None, None, 1, False, 0, 1.0)
"""Sigma to a tenth, b to itself."""

CONTRASTS = np.linalg.qr(np.column_stack([np.ones(PARTS), np.eye(PARTS)[:, 1:]]))[0].T[1:] / PARTS**0.5
"""Orthogonal to the sum over parts, and of the length of the mean."""

N, LINEAR, SQUARE = 8, np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.0, 2.0])


def draws_of_a_function(count: int, seed: int) -> dict[str, np.ndarray]:
    """q(m) = LINEAR m + SQUARE m^2 of the mean m of n standard normal numbers: Sigma = LINEAR^2, b = SQUARE."""
    parts = np.random.default_rng(seed).standard_normal((count, PARTS, 1)) / N**0.5
    x = parts.mean(axis=1)
    each, whole = (m * LINEAR + m**2 * SQUARE for m in (parts, x))
    mean = each.mean(axis=1)
    return {"mean": mean, "difference": CONTRASTS @ each, "change": whole - mean}


def of_function(count: int, seed: int = 0) -> tuple[Any, next_order.Bias]:
    groups = [Sums() for _ in range(GROUPS)]
    for number, group in enumerate(groups):
        draws = draws_of_a_function(count // GROUPS, seed * GROUPS + number)
        group.add(draws, slice(0, 3), (np.array([0]), np.array([2])))
    actual = estimates(groups, N, slice(0, 3), (np.array([0]), np.array([2])))
    b = next_order.bias(
        actual.mean, actual.change, N, (np.zeros(3), np.full(3, 1e-9)), np.zeros(3), Layout({"f": (1, 3)}).sizes
    )
    return actual, b


def test_estimates_of_a_known_function() -> None:
    """Sigma and b within their standard errors; the covariance of outputs likewise."""
    actual, b = of_function(16000)
    value, error = actual.sigma
    assert_zero("Sigma", Estimate.of(value - LINEAR**2, error, GROUPS), 1.0)
    assert_zero("b", Estimate.of(b.value - SQUARE, b.error, GROUPS), 1.0)


def test_errors_of_estimates_are_honest() -> None:
    """Over independent repetitions, mean squared differences are as large as stated."""
    both = [of_function(1600, seed) for seed in range(1, 25)]
    for values, errors, exact in (
        ([f.sigma[0] for f, _ in both], [f.sigma[1] for f, _ in both], LINEAR**2),
        ([b.value[::2] for _, b in both], [b.error[::2] for _, b in both], SQUARE[::2]),
    ):
        measured, stated = np.mean((np.array(values) - exact) ** 2, axis=0), np.mean(np.array(errors) ** 2, axis=0)
        known = measured > 1e-20
        ratio, freedom = measured[known] / stated[known], (len(both), len(both) * (GROUPS - 1))
        assert (ratio < rarely_exceeded(*freedom)).all() and (1 / ratio < rarely_exceeded(*freedom[::-1])).all()
    # At width n, Var m^2 = 2 / n^2.
    for name, exact in (("full", np.outer(LINEAR, LINEAR)), ("variance", LINEAR**2 + 2 * SQUARE**2 / N)):
        values = np.stack([getattr(actual, name) for actual, _ in both])
        error = values.std(axis=0, ddof=1) / len(both) ** 0.5
        assert_zero(name, Estimate.of(values.mean(axis=0) - exact, error, len(both)), 1.0)


def test_what_sums_of_groups_are_written_as() -> None:
    """Nothing is lost when sums are put down."""
    drawn = Drawn(4)
    for number in range(3):
        drawn.take(draws_of_a_function(4, number), slice(0, 2), (np.array([0]), np.array([1])))
    again = Drawn.of({name: a.copy() for name, a in drawn.arrays().items()})
    assert (again.chunk, again.done, again.count) == (4, 3, 12)
    for one, other in zip(drawn.groups, again.groups, strict=True):
        assert one.count == other.count and set(one.parts) == set(other.parts)
        for name, a in one.parts.items():
            np.testing.assert_array_equal(other.parts[name], a)


def test_next_order_of_an_entry_follows_its_own_growth() -> None:
    """V_n = S + a / n + a^2 / (S n^2): one variance of many grows by half of itself, the others do not grow."""
    n, small, a = 8, 5e-4, 2e-3
    names = ("prediction", "tangent_kernel")
    layout = Layout({name: (1, 20) for name in names})

    def variance(width: int) -> np.ndarray:
        values = np.ones(layout.size)
        values[[0, 20]] = small + a / width + a**2 / (small * width**2)
        return values

    growth = variance(PARTS * n) - variance(n)
    nothing, each = np.zeros(layout.size), np.zeros((GROUPS, layout.size))
    sigma = variance(n) + STEP * growth
    drawn = Estimates((sigma, nothing), (growth, nothing), variance(n), None, each, each, each)
    judged = _judged(drawn, SimpleNamespace(layout=layout, width=n, count=4096, rounding=1e-7), None, WANTED)  # type: ignore[arg-type]
    value, error = (part[0] for part in judged.estimates.sigma)
    assert 0.5 * error < abs(value - small) < error
    assert np.max(judged.estimates.sigma[1][1:20]) < 1e-6


def test_a_width_is_as_narrow_for_all_as_it_is_for_one() -> None:
    """Variances of K alone grow, by s of themselves in all; b of all is told by exact differences of widths."""
    n, s, b = 32, 0.3, 0.7
    layout = Layout({name: (1, 5) for name in ("prediction", "tangent_kernel", "feature_kernel")})
    ones, nothing = np.ones(layout.size), np.zeros(layout.size)
    growth = layout.join({name: np.full((1, 5), s / STEP * (name == "tangent_kernel")) for name in layout.shapes})
    each, change = np.zeros((GROUPS, layout.size)), np.full((GROUPS, layout.size), -b / (STEP * n))
    drawn = Estimates((ones, nothing), (growth, nothing), ones, None, each, each, change)
    judged = _judged(drawn, SimpleNamespace(layout=layout, width=n, count=4096, rounding=0.0), None, WANTED)  # type: ignore[arg-type]
    np.testing.assert_allclose(judged.bias.value, b)
    assert ORDINARY / n < s
    np.testing.assert_allclose(judged.bias.error, (1 + 1 / PARTS) * (s + s**2 + s**3 / (1 - s)) * b, rtol=1e-6)


def stand_in(layout: Layout, width: int, extend: Callable[[int], Estimates]) -> SimpleNamespace:
    """Of a `Drawing`, whose estimates from so many draws are given; `extend` sets its count."""
    sizes = partial(layout.sizes, ahead=1)
    return SimpleNamespace(
        layout=layout, sizes=sizes, width=width, count=0, rounding=1e-7, extend=extend, tell=lambda errors: None
    )


@pytest.mark.parametrize("fixed", [False, True], ids=["any width", "this width"])
def test_draws_become_wider_where_more_of_them_do_not_help(fixed: bool) -> None:
    """Variances fall to a fifth of V_n, so that what the next order may be, .16 V_n, is .8 of Sigma, however many draws
    there are. It falls like 1/n^2: twice the width leaves .2. In the pilot's noise all this is hidden."""
    n, most = 16, 16 * PILOT
    layout = Layout({name: (1, 20) for name in ("prediction", "tangent_kernel")})
    ones, each = np.ones(layout.size), np.zeros((GROUPS, layout.size))

    def extend(count: int) -> Estimates:
        drawing.count = count
        noise = (PILOT / count) ** 0.5 * ones
        return Estimates((0.2 * ones, noise), (-0.6 * ones, noise), ones, None, each, each, each)

    drawing = stand_in(layout, n, extend)
    wanted = Wanted(0.2, ("sigma",), most, None, 1, False, 0, 1.0)
    actual = _at_width(drawing, None, wanted, fixed)  # type: ignore[arg-type]
    if fixed:
        assert isinstance(actual, FiniteWidth) and actual.errors["sigma"] > 0.8
    else:
        assert actual == pytest.approx(2.0)


def test_draws_end_where_more_of_them_do_not_help() -> None:
    """b with a next order that leaves .31 of it, however many draws there are: a tenth is not reached."""
    n, b = 8, 0.7
    layout = Layout({name: (1, 20) for name in ("prediction", "tangent_kernel")})
    ones, nothing, each = np.ones(layout.size), np.zeros(layout.size), np.zeros((GROUPS, layout.size))
    signs = np.repeat([1.0, -1.0], GROUPS // 2)[:, None]

    def extend(count: int) -> Estimates:
        drawing.count = count
        change = each - b / (STEP * n) * (1 + 8 * (PILOT / count) ** 0.5 * signs)
        return Estimates((ones, nothing), (nothing, nothing), ones, None, each, each, change)

    drawing = stand_in(layout, n, extend)
    judged = _at_width(drawing, None, Wanted(0.01, ("bias",), None, None, 1, False, 0, 1.0), False)  # type: ignore[arg-type]
    assert isinstance(judged, FiniteWidth)
    left = (1 + 1 / PARTS) * ORDINARY / n
    assert left < judged.errors["bias"] <= WORTH * left
    assert judged.draws < most_draws(n) / 3


@pytest.mark.parametrize("fixed", [False, True], ids=["any width", "this width"])
def test_draws_become_wider_where_the_next_order_of_b_is_seen_to_be_large(fixed: bool) -> None:
    """k = -b / 2, so orders beyond it are not small. One equation has b / 2, the other .375 b: what is seen of k is as
    large as what is seen of b."""
    n, b, k = 16, 1.6, -0.8
    layout = Layout({name: (1, 20) for name in ("prediction", "tangent_kernel")})
    ones, each = np.ones(layout.size), np.ones((GROUPS, layout.size))
    exact = {name: np.zeros(shape) for name, shape in layout.shapes.items()}
    mean, change = (b + k) / n * each, -((1 - 1 / PARTS) * b + (1 - PARTS**-2) * k) / n * each

    def extend(count: int) -> Estimates:
        drawing.count = count
        noise = (PILOT / count) ** 0.5 * ones
        return Estimates((ones, noise), (0 * ones, 0 * ones), ones, None, each, mean, change)

    drawing = stand_in(layout, n, extend)
    q = Limit(exact, exact, exact, 1e6, 4)
    actual = _at_width(drawing, q, Wanted(0.2, ("sigma", "bias"), None, None, 1, False, 0, 1.0), fixed)  # type: ignore[arg-type]
    if fixed:
        assert isinstance(actual, FiniteWidth)
        assert np.all(np.abs(actual.bias.value - b) < 2 * actual.bias.error)
    else:
        assert actual == pytest.approx(1 / SEEN)


def test_what_explodes_later_is_no_rounding_before() -> None:
    """f(0) = 0 to rounding of f(1); variances before the last two times are kept, whatever comes then."""
    layout = Layout({name: (4, 1) for name in ("prediction", "tangent_kernel")})
    variance = np.array([1e-16, 1.0, 1e8, 1e20, 1.0, 1.0, 1e8, 1e20])
    mean = np.tile([1e-9, 1.0, 1e4, 1e10, 1.0, 1.0, 1e4, 1e10], (GROUPS, 1))
    nothing = np.zeros(8)
    actual = Estimates((variance, nothing), (nothing, nothing), variance, None, mean, mean, 0 * mean)
    drawing = SimpleNamespace(layout=layout, width=8, count=512, rounding=np.finfo(np.float32).eps)
    drawing.sizes = partial(layout.sizes, ahead=1)
    drawing.extend, drawing.tell = lambda count: actual, lambda errors: None
    wanted = Wanted(0.1, ("sigma",), 512, 8, 1, False, 0, 1.0)
    judged = _at_width(drawing, None, wanted, fixed=True)  # type: ignore[arg-type]
    assert isinstance(judged, FiniteWidth)
    exact, kept = judged.estimates, [1, 4, 5]
    np.testing.assert_array_equal(exact.sigma[0][kept], variance[kept])
    assert exact.sigma[0][0] == exact.mean[0, 0] == 0


def test_errors_of_q_from_draws_are_honest() -> None:
    """Mean squares of differences from q are as large as stated, to 1 %: they have 2000 x 15 degrees of freedom."""
    rng, count = np.random.default_rng(0), 2000
    mean, change = rng.normal(size=(2, GROUPS, count))
    nothing = np.zeros(count)
    drawn = Estimates((nothing, nothing), (nothing, nothing), nothing, None, mean, mean, change)
    q, error = _limit(drawn)
    exact = (1 + STEP**2) / GROUPS
    assert abs(np.mean(error**2) / exact - 1) < 4 * (2 / (count * (GROUPS - 1))) ** 0.5
    assert abs(np.mean(q**2) / exact - 1) < 4 * (2 / count) ** 0.5
