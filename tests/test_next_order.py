"""b from means of draws: errors are as large as stated, whatever dominates them."""

import numpy as np
import pytest

from fwdmft.corrections.layout import Layout
from fwdmft.corrections.next_order import ORDINARY, Bias, bias
from fwdmft.corrections.samples import PARTS

GROUPS, COUNT = 400, 2000
"""Groups (so many that their covariance is known), and observables of one size."""
UNITS = np.repeat([1.0, 100.0], COUNT)
LAYOUT = Layout({"f": (1, COUNT), "K": (1, COUNT)})


def measured(
    noise: float, q_error: float, relative: float, known: bool, claimed: float | None = None
) -> tuple[np.ndarray, Bias]:
    """b and its estimates, from means that obey the two equations of the module.

    noise, q_error: of b by either mean and by q, in units of b. relative: |k| / |b|. known: whether q is. claimed: what
    the growth of variances says of |k| / |b|. The width is that at which this is ordinary.
    """
    claimed = relative if claimed is None else claimed
    N = ORDINARY / claimed
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, 2 * COUNT)) * UNITS

    b, q = np.sign(normal()) * UNITS, normal()
    # Its size is told from that of b + (1 + 1 / r) k + (1 + 1 / r + 1 / r^2) l.
    share, third = 1 - 1 / PARTS, claimed * relative
    rest = 1 - ((1 + 1 / PARTS) * relative) ** 2 - ((1 + 1 / PARTS + PARTS**-2) * third) ** 2
    k, third_order = (size / rest**0.5 * normal() for size in (relative, third))
    common, own = (noise * GROUPS**0.5 / N * normal(GROUPS) for _ in range(2))
    mean = q + (b + k + third_order) / N + common
    change = -(share * b + (1 - PARTS**-2) * k + (1 - PARTS**-3) * third_order) / N + share * (own - common)
    seen = q + q_error / N * normal()
    errors = q_error / N * UNITS
    relatives = np.full(2 * COUNT, claimed)
    return b, bias(mean, change, N, (seen, errors) if known else None, relatives, LAYOUT.sizes)


@pytest.mark.parametrize("known", [True, False], ids=["q known", "q unknown"])
@pytest.mark.parametrize(
    ("noise", "q_error", "relative"),
    [(0.3, 1e-3, 1e-3), (1e-3, 0.3, 1e-3), (1e-3, 1e-3, 0.2), (1e-5, 1e-5, 0.2), (0.1, 0.1, 0.1)],
    ids=["noise", "q", "next order", "third order", "all"],
)
def test_errors_are_as_large_as_stated(noise: float, q_error: float, relative: float, known: bool) -> None:
    """Mean squares in units of the error, which are 1, within four of their standard errors."""
    b, actual = measured(noise, q_error, relative, known)
    np.testing.assert_allclose(actual.groups.mean(axis=0), actual.value, rtol=1e-9, atol=1e-9 * UNITS.max())
    scores = [(actual.value - b) / actual.error, *([actual.check] if known else [])]
    for score in scores:
        for where in LAYOUT.slices.values():
            assert abs(np.mean(score[where] ** 2) - 1) < 4 * (2 / COUNT) ** 0.5
    if not known:
        assert not actual.check.any()


def test_a_next_order_beyond_the_ordinary_is_seen() -> None:
    """By both equations together, once it is beyond their noise: the error is that of b, not a seventh of it.

    Their noise has a common part, which they do not see: five times as much would hide the next order.
    """
    b, actual = measured(0.055, 0.03, 0.5, True, claimed=0.05)
    for where in LAYOUT.slices.values():
        assert abs(np.mean(((actual.value - b) / actual.error)[where] ** 2) - 1) < 0.2


def test_q_helps() -> None:
    """The noise of the second equation is that of the first and as much again: the first halves the variance."""
    alone, both = (measured(0.3, 1e-3, 1e-3, known)[1].error for known in (False, True))
    assert np.mean(both**2 / alone**2) < 0.6


def test_what_is_exact_has_no_b_and_no_error() -> None:
    """As f(0) = 0 in all networks."""
    zero = np.zeros((GROUPS, 3))
    actual = bias(zero, zero, 8, (np.zeros(3), np.zeros(3)), np.zeros(3), Layout({"f": (1, 3)}).sizes)
    for part in actual:
        np.testing.assert_array_equal(part, 0.0)


def test_later_times_do_not_count() -> None:
    """The size of an entry is that of its observable until then: a kernel that explodes later says nothing of it."""
    layout = Layout({"f": (3, 2), "K": (2, 1)})
    flat = np.array([1.0, -1.0, 3.0, 4.0, 1e9, -1e9, 5.0, 1e6])
    expected = np.array([1.0, 1.0, 6.75**0.5, 6.75**0.5, 3**-0.5 * 1e9, 3**-0.5 * 1e9, 5.0, 1e6 / 2**0.5])
    np.testing.assert_allclose(layout.sizes(flat), expected, rtol=1e-6)


def test_the_time_between_two_times_is_the_later() -> None:
    """Of kernels (layer, time, point, time', point') of one point: sizes of all entries until the later time."""
    layout = Layout({"feature_kernel_two_time": (2, 2, 1, 2, 1), "prediction": (2, 1)})
    first, second = np.array([[1.0, 10.0], [20.0, 30.0]]), np.array([[7.0, -10.0], [20.0, 30.0]])
    sizes = layout.split(layout.sizes(np.concatenate([first.ravel(), second.ravel(), [1.0, 7.0]])))
    early, late = 25**0.5, ((1 + 49) / 8 + 2 * (100 + 400 + 900) / 8) ** 0.5
    for layer in sizes["feature_kernel_two_time"]:
        np.testing.assert_allclose(layer[:, 0, :, 0], [[early, late], [late, late]], rtol=1e-12)
    np.testing.assert_allclose(sizes["prediction"][:, 0], [1.0, 5.0], rtol=1e-12)
