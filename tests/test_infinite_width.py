"""Large simulations: how many neurons are tried, how many there may be, and what is compiled."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiments import experiment
from networks_of import dense_network

import fwdmft
from fwdmft.engine import capacity
from fwdmft.engine.dynamics import training_signal, trajectory
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.infinite_width import (
    AHEAD,
    FEWEST,
    MOST,
    MOST_OF_BASES,
    TRIED,
    Excess,
    first_try,
    most_neurons,
    next_try,
    noise_of,
)
from fwdmft.engine.simulation import Large, Observing, infinite_width
from fwdmft.experiment.loss import SquaredError
from fwdmft.experiment.parameterization import MeanField
from fwdmft.optimization import Plan, ladders
from fwdmft.preparing import prepare
from fwdmft.testing.agreement import Estimate, assert_equal, assert_zero
from fwdmft.theory import TheoryTask
from fwdmft_transformer.equations import field_equations
from fwdmft_transformer.schema import Transformer

SIMULATIONS = 8


@pytest.mark.parametrize(
    ("affordable", "first", "next_"),
    [(512, FEWEST, 2048), (4096, 4096, 4096), (1 << 20, AHEAD * FEWEST, AHEAD * 2048)],
)
def test_tries_are_as_large_as_costs_little(affordable: int, first: int, next_: int) -> None:
    """Never fewer neurons than the error asks for, here twice as many as were tried."""
    assert first_try(affordable) == first
    assert next_try(1024, Excess(1.5, 1.5), affordable) == next_
    assert next_try(1024, Excess(0.9, 0.2), affordable) == 1024
    assert next_try(1024, Excess(7.9, 2.0), 1024) == 8192


def test_simulations_that_are_dear_have_the_stated_error_alone() -> None:
    """A share of it would take 8192 neurons, which is more than eight times what is cheap."""
    assert next_try(1024, Excess(7.9, 0.99), 512) == 1024
    assert next_try(1024, Excess(7.9, 1.98), 512) == 2048


def images(side: int, points: int) -> TheoryTask:
    data = {"kind": "digits", "train": points, "test": 0, "resolution": side}
    architecture = {"kind": "cnn", "depth": 2}
    task = prepare(
        fwdmft.load_experiment(experiment(architecture=architecture, data=data, ensemble=None, theory={}))
    ).theory
    assert task is not None
    return task


def test_bases_bound_the_neurons() -> None:
    """Of small images as well, whose fields alone would allow many more."""
    task = images(4, 3)
    most = most_neurons(task)
    grown = capacity.expected(task.at_infinite_width.matrices, MOST)
    each = capacity.of_a_neuron(task.at_infinite_width.matrices, grown)
    assert TRIED < most < MOST and most * each <= MOST_OF_BASES < 2 * most * each


def test_levels_of_a_ladder_are_plans_of_shorter_steps() -> None:
    """What networks of draws go through: the combination of plain descents with 1, 2 and 4 times as many steps."""
    x, y, train = np.array([[1.2, -0.7], [0.3, 1.1]]), np.array([[1.0], [-0.5]]), np.ones(2, bool)
    _, _, ladder, *_ = ladders()
    rates = np.array([0.3, 0.2, 0.1, 0.4, 0.0])  # the last one is not seen
    with jax.enable_x64(True):
        equations = dense_network(x, 1.5, outputs=1, sigma_w=(1.0, 1.0))
        rng = np.random.default_rng(0)
        noise = {p.name: jax.numpy.asarray(rng.standard_normal((p.gaussians, 30))) for p in equations.populations}

        def predictions(plan: Plan, save_every: int) -> np.ndarray:
            signal = training_signal(plan, SquaredError(), y, train, save_every)
            return np.asarray(trajectory(equations, noise, (), signal, lambda _, fields: fields.f))

        actual = predictions(Plan(rates, ladder=ladder), 2)
        expected = np.zeros_like(actual)
        for level in ladder:
            m = level.substeps
            shorter = np.append(np.repeat(rates[:-1], m) / m, 0.0)
            expected += level.coefficient * predictions(Plan(shorter), 2 * m)
    assert len(ladder) == 3 and len(actual) == 3
    assert_equal("f", actual, expected)


@pytest.mark.optimized  # what makes the rounding
@pytest.mark.parametrize("architecture", [{"kind": "mlp"}, {"kind": "deep", "depth": 2}])
def test_centred_predictions_are_exactly_zero_at_first(architecture: dict[str, Any], tmp_path: Path) -> None:
    """Rounding in place of zero, of relative error one, would ask for the most neurons there may be."""
    np.savez(tmp_path / "points.npz", x=np.array([[1.4, 0.0], [0.7, 1.2]]), y=np.array([[1.0], [0.0]]), train=1)
    given = experiment(
        architecture=architecture,
        data={"kind": "file", "path": "points.npz"},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 1},
        theory={"fluctuations": False, "bias": False},
        ensemble=None,
    )
    result = fwdmft.run(fwdmft.load_experiment(given, base=tmp_path))
    assert not np.any(result["theory"]["prediction"]) and result["diagnostics"]["neurons"] < MOST


def gradient_kernel(equations: FieldEquations, points: int, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the first layer at first, mean over points, of several simulations: mean and standard error."""
    training = training_signal(Plan(np.zeros(1)), SquaredError(), np.zeros((points, 1)), np.ones(points, bool), 1)
    seen = []
    for number in range(SIMULATIONS):
        one = infinite_width(equations, lambda e, n=number: noise_of(e, neurons, 0, n), training, Observing())
        assert isinstance(one, Large)
        seen.append(np.einsum("pcpc->", one.seen["gradient_kernel"][0, 0]) / points)
    return np.mean(seen, keepdims=True), np.std(seen, ddof=1, keepdims=True) / SIMULATIONS**0.5


@pytest.mark.parametrize(("points", "neurons"), [(6, 256), (4, 512)])
def test_heads_of_many_entries(points: int, neurons: int) -> None:
    """Of linear heads that read one token, G^1 = 1 + 1 at first: what goes around them, and through V and O.

    Independent points make eight vectors each of what heads of eight entries hand on.
    """
    x = np.random.default_rng(3).standard_normal((points, 1, points))
    x /= np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
    spec = Transformer(activation="linear", mlp=False, heads="infinite", key_size=8)
    with jax.enable_x64(True):
        mean, error = gradient_kernel(field_equations(spec, MeanField(), x, 1), points, neurons)
    assert_zero("G", Estimate.of(mean - 2.0, error, SIMULATIONS), 2.0)


def test_many_points() -> None:
    """More than there are Sobol coordinates for: G^1 = 1 at first of linear networks."""
    points = 300
    x = np.random.default_rng(3).standard_normal((points, points))
    x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    with jax.enable_x64(True):
        mean, error = gradient_kernel(dense_network(x, 1.0, sigma_w=(1.0,) * 3, activation="linear"), points, 640)
    assert_zero("G", Estimate.of(mean - 1.0, error, SIMULATIONS), 1.0)
