"""Neurons of a forward program under the record of a large simulation, each by itself."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fwdmft.corrections import controls
from fwdmft.engine import neurons
from fwdmft.engine.averages import recording
from fwdmft.engine.dynamics import Trajectory, one_pass, training_signal
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.replayed_matrix import recorded
from fwdmft.engine.simulation import gaussian_matrices
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan
from fwdmft.program.building import forward_program
from fwdmft.program.net import Net

X = np.random.default_rng(0).standard_normal((3, 4))
Y = np.random.default_rng(1).standard_normal((3, 2))[:, :1]
TRAIN = np.array([True, True, False])

FEW = 32
"""Neurons that are replayed by themselves; their own averages are off by a fifth."""


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def gated(net: Net, x: Array) -> Array:
    """A matrix used twice, from a population to itself, and an average that enters what follows."""
    h, v = net.layer("hidden", net.input("W", "hidden", x), jnp.tanh)
    for _ in range(2):
        size = net.average("hidden", v * h)[:, None]
        h, v = net.layer("hidden", h + size * net.dense("J", "hidden", "hidden", v), jnp.tanh)
    return net.readout("w", "hidden", v)


def recorded_and_replayed(count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of some neurons of a large simulation, and of the same neurons under its record, by themselves."""
    equations = forward_program(gated, X, 1, 1.3)
    noise = neurons.sample(equations.populations, equations.supplies, count, seed=3)
    noise = jax.tree.map(jnp.asarray, noise)
    training = training_signal(Plan(np.full(4, 0.3), momentum=0.3), SquaredError(), Y, TRAIN, 1)
    steps = len(training.rates)
    matrices, taken = (
        gaussian_matrices(equations, noise, True, steps),
        recording(equations.averages_taken, (3, 1), steps),
    )

    def contributions(equations: FieldEquations, fields: Any) -> Any:
        return equations.contributions(fields)

    @jax.jit
    def large() -> Trajectory:
        return one_pass(equations, noise, matrices, training, contributions, 1, record=True, averages=taken)

    actual = large()
    after = actual.state.matrices
    assert not any(side.full for m in after for side in (m.forward, m.backward))
    pairs = zip(after, equations.matrices, strict=True)
    records = tuple(recorded(m.forward.record, m.backward.record, of.uses) for m, of in pairs)
    equations = equations.with_capacities(tuple(record.capacities for record in records))
    bare = controls.Controls(equations, training, records, actual.state.averages.records, actual.residuals, {})
    few = jax.tree.map(lambda a: a[:, :FEW], noise)
    seen = jax.tree.map(lambda a: a.reshape(-1, count)[:, :FEW], actual.seen)
    return seen, controls._fields(bare, few)


def test_mean_field_neurons_are_those_of_the_large_simulation() -> None:
    """Up to the projection of their numbers, which keeps a finite simulation consistent: errors fall as S^(-1/2)."""
    errors = []
    for count in (1 << 9, 1 << 13):
        large, alone = (jax.tree.leaves(each) for each in recorded_and_replayed(count))
        pairs = zip(large, alone, strict=True)
        errors.append(max(float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a)) for a, b in pairs))
    assert errors[1] < 0.1
    assert 2.5 < errors[0] / errors[1] < 6.5  # S^-1/2 would be 4
