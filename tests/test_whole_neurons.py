"""Layers of several widths have whole numbers of neurons, in networks and in draws: nothing is rounded."""

from typing import Any

import jax
import numpy as np
import pytest
from experiments import experiment

import fwdmft
from fwdmft.corrections.finite_width import NARROWEST, WIDEST, multiple_of
from fwdmft.corrections.from_draws import draw_multiple
from fwdmft.corrections.samples import PARTS, Sampler
from fwdmft.engine.neurons import Population, least_width, whole_neurons
from fwdmft.engine.problem import TheoryTask
from fwdmft.engine.simulation import Observing
from fwdmft.preparing import prepare


def of_ratios(*ratios: float, **sections: Any) -> dict[str, Any]:
    theory = {"neurons": 64, "draws": 32} | sections.pop("theory", {})
    architecture = {"kind": "deep", "depth": 2, "activation": "tanh", "width_ratios": list(ratios)}
    return experiment(architecture=architecture, theory=theory, **({"ensemble": None} | sections))


def task_of(*ratios: float) -> TheoryTask:
    task = prepare(fwdmft.load_experiment(of_ratios(*ratios))).theory
    assert task is not None
    return task


@pytest.mark.parametrize(
    ("ratios", "least"),
    [((1.0,), 1), ((1.0, 2.0), 1), ((0.5, 1.5), 2), ((0.3, 1.0), 10), ((1 / 3, 0.25), 12), ((0.3333333, 1.0), 3)],
)
def test_least_width(ratios: tuple[float, ...], least: int) -> None:
    populations = [Population(f"{number}", 1, ratio) for number, ratio in enumerate(ratios)]
    assert least_width(populations, WIDEST) == least
    assert [whole_neurons(ratio, least) for ratio in ratios] == [round(ratio * least) for ratio in ratios]


@pytest.mark.parametrize("ratios", [(0.333, 1.0), (1 / 129, 1.0), (1 / 11, 1 / 13), (2**0.5, 1.0)])
def test_no_width_has_whole_layers(ratios: tuple[float, ...]) -> None:
    with pytest.raises(fwdmft.InputError, match="architecture: got .* whole numbers of neurons at some N up to 128"):
        prepare(fwdmft.load_experiment(of_ratios(*ratios)))


def test_draws_have_the_ratios_of_the_experiment() -> None:
    """Rounded at width 8, a ratio of 0.3 was one of 0.25, and the share of this layer in b was 1.2 times too large."""
    task = task_of(1.0, 0.3)
    width = multiple_of(draw_multiple(task), NARROWEST)
    sampler = Sampler(task.equations, task.equations, task.training(), width, Observing(), 1)
    shapes = jax.eval_shape(sampler._noise, jax.random.key(0))
    neurons = [shapes[population.name].shape[-1] for population in task.equations.populations]
    np.testing.assert_array_equal(neurons, [PARTS * 10, PARTS * 3])


def test_widths_of_draws_and_networks_are_refused() -> None:
    with pytest.raises(fwdmft.InputError, match=r"theory\.draw_width: got 16; expected a multiple of 10"):
        prepare(fwdmft.load_experiment(of_ratios(1.0, 0.3, theory={"draw_width": 16})))
    ensemble = {"widths": [20, 32], "members": 2}
    with pytest.raises(fwdmft.InputError, match=r"ensemble\.widths: got 32; .*0\.3 N.*it is 9\.6 here"):
        prepare(fwdmft.load_experiment(of_ratios(1.0, 0.3, ensemble=ensemble)))
    prepare(
        fwdmft.load_experiment(of_ratios(1.0, 0.3, theory={"draw_width": 20}, ensemble=ensemble | {"widths": [20, 30]}))
    )
