"""Plans: which step happens when, and step-halving ladders."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from fwdmft.optimization import Plan, RichardsonLevel, ladders
from fwdmft.testing.agreement import ROUNDING

ALL = list(ladders())


@pytest.mark.parametrize("ladder", ALL, ids=len)
def test_ladders_are_exact_on_polynomials(ladder: tuple[RichardsonLevel, ...]) -> None:
    """q(h) = sum_k a_k h^k with h = 1 / substeps extrapolates to a_0 for as many terms as there are levels."""
    h = np.array([1 / level.substeps for level in ladder])
    coefficients = np.array([level.coefficient for level in ladder])
    for degree in range(len(ladder)):
        np.testing.assert_allclose(coefficients @ h**degree, float(degree == 0), atol=ROUNDING)
    assert abs(coefficients @ h ** len(ladder)) > 1e-12


def test_ladders_grow_by_halving() -> None:
    substeps = [[level.substeps for level in ladder] for ladder in ALL]
    assert substeps[:3] == [[1], [1, 2], [1, 2, 4]]
    assert substeps[-1] == [16, 32, 64, 128, 256]
    assert ALL[0] == (RichardsonLevel(1, 1.0),) == Plan(np.ones(3)).ladder


def test_ladders_speed_up_convergence() -> None:
    """Euler's method for f' = 1 - f: every further level gains an order in the step."""

    def error(ladder: tuple[RichardsonLevel, ...], step: float) -> float:
        combined = sum(r.coefficient * (1 - (1 - step / r.substeps) ** r.substeps) for r in ladder)
        return abs(combined - (1 - np.exp(-step)))

    for ladder in islice(ALL, 1, 4):
        # One step of Euler's method with n levels has local error h^(n + 1).
        order = np.log2(error(ladder, 0.4) / error(ladder, 0.2))
        assert round(order) == len(ladder) + 1


@pytest.mark.parametrize("steps", [1, 2, 7, 12, 13])
@pytest.mark.parametrize("save_every", [1, 3, 4, 20])
def test_intervals_cover_every_step_once(steps: int, save_every: int) -> None:
    """Laid end to end they are the plan without its last update, and start at the saved steps."""
    batches = np.arange(1, 2 * steps + 1).reshape(steps, 2)
    plan = Plan(np.arange(1.0, steps + 1), batches)
    rates, grouped = plan.intervals(save_every)
    saved = plan.saved(save_every)
    save_every = min(save_every, max(1, steps - 1))  # the plan ends with its steps
    assert rates.shape == (len(saved), save_every) and grouped is not None
    assert grouped.shape == (len(saved), save_every, 2)
    for k, (start, end) in enumerate(zip(saved, [*saved[1:], steps - 1], strict=True)):
        np.testing.assert_array_equal(rates[k, : end - start], np.arange(start, end) + 1)
        np.testing.assert_array_equal(grouped[k, : end - start], batches[start:end])
        assert not rates[k, end - start :].any()


def test_saved_steps_end_with_the_last() -> None:
    plan = Plan(np.ones(10))
    assert plan.saved(1).tolist() == list(range(10))
    assert plan.saved(4).tolist() == [0, 4, 8, 9] and plan.saved(3).tolist() == [0, 3, 6, 9]


def test_plan_without_batches() -> None:
    plan = Plan(np.full(5, 0.1))
    assert plan.steps == 5 and plan.intervals(2)[1] is None


def test_on_ladder_changes_only_the_ladder() -> None:
    settings: dict[str, Any] = {"momentum": 0.5, "weight_decay": 0.1, "tolerance": 1e-3}
    plan = Plan(np.ones(3), **settings)
    moved = plan.on_ladder(ALL[2])
    assert moved.ladder == ALL[2] and plan.ladder == ALL[0]
    assert {name: getattr(moved, name) for name in settings} == settings
