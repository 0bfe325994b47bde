"""Gradient flow: which ladder of steps suffices, and that its levels train the same networks."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from networks_of import dense_network

from fwdmft.engine import simulation, step_halving
from fwdmft.engine.dynamics import one_pass
from fwdmft.engine.infinite_width import large
from fwdmft.engine.simulation import Large
from fwdmft.engine.step_halving import NOISE, Change, Ladder, gradient_flow_ladders
from fwdmft.errors import ComputationError
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan, RichardsonLevel
from fwdmft.theory import TheoryTask

X = np.array([[1.2, -0.7], [0.3, 1.1]])


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def flow(tolerance: float = 1e-6, activation: str = "tanh", layers: int = 2, **settings: Any) -> TheoryTask:
    return TheoryTask(
        equations=dense_network(X, 1.5, outputs=1, sigma_w=(1.0,) * layers, activation=activation).resolving(1e-12),
        richness=lambda width: 1.5,
        lazy=False,
        y=np.array([[1.0], [-0.5]]),
        train=np.ones(2, bool),
        loss=SquaredError(),
        plan=Plan(np.full(3, 0.3), tolerance=tolerance),
        spec=TheorySpec(neurons=512, replicates=2, **settings),
    )


def predictions(task: TheoryTask, ladder: Ladder) -> np.ndarray:
    simulated = large(task.on_ladder(ladder), task.at_infinite_width, 512, 0)
    assert isinstance(simulated, Large)
    return simulated.seen["prediction"]


def with_levels(longer: Ladder, ladder: Ladder) -> Ladder:
    """The ladder with levels of coefficient zero, so that a simulation goes through the same levels as of `longer`."""
    coefficients = {level.substeps: level.coefficient for level in ladder}
    every = [2**j for j in range(longer[-1].substeps.bit_length())]
    return tuple(RichardsonLevel(m, coefficients.get(m, 0.0)) for m in every)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_large_simulation_converges_as_networks_do(layers: int) -> None:
    """Halving once more changes a simulation no more than it changes networks: levels share their random matrices.

    The standard error of the networks' change tells how much changes of single networks differ; a simulation is one of
    eight times as many neurons as theirs.
    """
    task = flow(layers=layers)
    fine = gradient_flow_ladders(task).fine
    shorter = next(each for each in step_halving.ladders() if each[-1].substeps == fine[-2].substeps)

    def combined(ladder: Ladder) -> Any:
        each = [level.coefficient * step_halving._predictions(task, level.substeps) for level in ladder]
        return np.add.reduce(each)

    change = step_halving._change(combined(fine), combined(shorter))
    f, before = (predictions(task, with_levels(fine, each)) for each in (fine, shorter))
    single = change.noise * step_halving.NETWORKS**0.5
    assert 0 < change.size < 1e-6
    assert np.max(np.abs(f - before)) / np.max(np.abs(f)) < change.size + 4 * single


def test_kinks_end_the_halving_where_they_hide_the_change() -> None:
    """And a smooth network goes on to its tolerance: it has no such noise."""
    kinked, smooth = (gradient_flow_ladders(flow(activation=name, layers=3)).fine for name in ("relu", "tanh"))
    assert 2 <= kinked[-1].substeps < 256 and smooth[-1].substeps < 256
    with pytest.raises(ComputationError, match=r"halving the step 8 times left .* optimizer.tolerance 1e-06: raise it"):
        gradient_flow_ladders(flow(activation="relu", layers=3, relative_error=1e-6))


@pytest.mark.parametrize("opposite", [False, True])
def test_rounding_is_no_change(opposite: bool) -> None:
    """Centred networks without a target, or with opposite ones of equal points, have f = 0 up to rounding, which does
    not fall with the step."""
    x, y = np.random.default_rng(0).standard_normal((4, 4)), np.zeros((4, 1))
    if opposite:
        x, y = np.concatenate([x, x]), np.repeat([[1.0], [-1.0]], 4, axis=0)
    equations = dense_network(x, 1.5).resolving(1e-12)
    fine, coarse, _ = gradient_flow_ladders(replace(flow(), equations=equations, y=y, train=np.ones(len(y), bool)))
    assert fine[-1].substeps == coarse[-1].substeps == 2


@pytest.mark.parametrize(
    ("size", "noise", "expected"),
    [(0.9, 0.0, True), (1.1, 0.0, False), (1.9, 1.0, True), (2.1, 1.0, False), (1.9, 1.1, False), (0.9, 9.0, True)],
)
def test_a_change_is_small_or_lost_in_small_noise(size: float, noise: float, expected: bool) -> None:
    assert Change(size, noise).within(1.0, 1.05 / NOISE) is expected


def test_all_levels_are_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass is traced once, whatever the levels of the ladders that are tried."""
    traced: list[Any] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        traced.append(arguments)
        return one_pass(*arguments, **named)

    for module in (simulation, step_halving):
        monkeypatch.setattr(module, "one_pass", counted)
    task = replace(flow(), plan=Plan(np.full(7, 0.1), tolerance=1e-6))  # a shape of its own
    fine = gradient_flow_ladders(task).fine
    assert len(fine) > 2 and len(traced) == 1
    predictions(task, fine)
    assert len(traced) == 2
