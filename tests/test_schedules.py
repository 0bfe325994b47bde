"""Optimizer schemas become plans: learning rates step by step and a fixed order of minibatches."""

from typing import Any

import numpy as np
import pytest

from fwdmft.errors import InputError
from fwdmft.experiment.optimizer import GradientDescent, GradientFlow
from fwdmft.optimization import Plan


def plan(n_train: int = 5, **changes: Any) -> Plan:
    spec = {"learning_rate": 0.5, "steps": 6} | changes
    return GradientDescent.model_validate(spec | {"kind": "gradient_descent"}).plan(n_train)


def test_constant_by_default() -> None:
    made = plan(momentum=0.9, weight_decay=0.1)
    np.testing.assert_array_equal(made.learning_rates, np.full(6, 0.5))
    assert (made.batches, made.momentum, made.weight_decay, made.tolerance) == (None, 0.9, 0.1, None)


def test_cosine_rises_then_falls_to_final() -> None:
    rates = plan(schedule={"kind": "cosine", "final": 0.2, "warmup": 2}, steps=7).learning_rates
    np.testing.assert_allclose(rates[:3], [0.5 / 3, 1.0 / 3, 0.5])
    np.testing.assert_allclose(rates[4], 0.5 * (0.2 + 0.8 * 0.5))
    np.testing.assert_allclose(rates[-1], 0.1)
    assert plan(schedule={"kind": "cosine"}, steps=1).learning_rates.tolist() == [0.5]


def test_exponential_and_piecewise() -> None:
    exponential = plan(schedule={"kind": "exponential", "rate": 0.5}, steps=3).learning_rates
    np.testing.assert_allclose(exponential, [0.5, 0.25, 0.125])
    schedule = {"kind": "piecewise", "boundaries": [2, 4], "factors": [0.5, 0.1]}
    np.testing.assert_allclose(plan(schedule=schedule).learning_rates, [0.5, 0.5, 0.25, 0.25, 0.05, 0.05])


def test_minibatches_are_seeded_permutations_without_partial_batches() -> None:
    batches = plan(batch={"size": 2, "seed": 3}, steps=7).batches
    assert batches is not None and batches.shape == (7, 2)
    for epoch in batches[:6].reshape(3, 4):
        assert len(set(epoch)) == 4 and set(epoch) <= set(range(5))
    again, other = (plan(batch={"size": 2, "seed": seed}, steps=7).batches for seed in (3, 4))
    np.testing.assert_array_equal(batches, again)
    assert other is not None and not np.array_equal(batches, other)


def test_minibatch_larger_than_training_set() -> None:
    with pytest.raises(InputError, match="optimizer.batch.size: got 6; expected at most the 5 training points"):
        plan(batch={"size": 6})


def test_gradient_flow_asks_for_its_limit() -> None:
    made = GradientFlow(learning_rate=0.1, steps=3, tolerance=1e-4).plan(2)
    assert made.tolerance == 1e-4
    np.testing.assert_allclose(made.learning_rates, 0.1)
