"""Exact symmetries of the theory, each for one small experiment; `random_experiments.py --symmetries` tries more.

Those that any architecture must obey, and that cost next to nothing, are laws of `fwdmft.testing`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import symmetries
from strategies import Points, Trial
from symmetries import DRAWN, ENSEMBLE, SYMMETRIES, THEORY, Symmetry, check_twin, compute


def trial(kind: str, **architecture: Any) -> Trial:
    """Four points, three of them trained on, and two outputs."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    sections = {
        "name": kind,
        "architecture": {"kind": kind, **architecture},
        "parameterization": {"kind": "mean_field", "gamma0": 1.5},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 3, "weight_decay": 0.1},
        "loss": {"kind": "squared_error", "reduction": "mean"},
        "data": {"kind": "file", "path": "data.nc"},
        "theory": THEORY | DRAWN,
        "ensemble": dict(ENSEMBLE),
    }
    return Trial(sections, Points(x, y, np.array([True, False, True, True])))


def without_corrections(trial: Trial) -> Trial:
    """q alone, which compiles sooner."""
    return trial.with_fields(theory=THEORY | {"fluctuations": False, "bias": False}, ensemble=None)


TWO_LAYERS = trial("mlp", activation="tanh", bias=0.5).with_fields(parameterization__center=False)
DEEP = without_corrections(trial("deep", depth=2, activation="tanh", frozen=[0]))
FLOW = {"kind": "gradient_flow", "learning_rate": 0.05, "steps": 2, "tolerance": 1e-5}
TRIALS = (
    without_corrections(TWO_LAYERS),
    without_corrections(trial("mlp", activation="tanh").with_fields(optimizer=FLOW)),
    trial("mlp", activation="relu").with_fields(ensemble=None),
    DEEP,
)
"""Each symmetry is tried on the first that it applies to."""

SAME_PROGRAMS = (
    symmetries.small_targets_are_large_richness,
    symmetries.inputs_can_be_rotated,
    symmetries.points_have_no_order,
    symmetries.outputs_have_no_order,
)
"""Those that need no other programs than the first experiment are tried with Sigma, b and networks."""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """Results of trials, by their place in memory."""
    return {}


def first_that_suits(symmetry: Symmetry) -> Trial:
    trials = (TWO_LAYERS,) if symmetry in SAME_PROGRAMS else TRIALS
    return next(one for one in trials if symmetry(one, np.random.default_rng(0)) is not None)


CASES = [(each, first_that_suits(each)) for each in SYMMETRIES]
# Vectors of linear networks span few dimensions: bases that resolve too much fill up with rounding.
LINEAR = without_corrections(trial("deep", depth=2, activation="linear"))
CASES += [(symmetries.small_targets_are_large_richness, LINEAR)]


@pytest.mark.parametrize(("symmetry", "first"), CASES, ids=[each.__name__ for each, _ in CASES])
def test_symmetry(symmetry: Symmetry, first: Trial, computed: dict[int, Any], tmp_path: Path) -> None:
    twin = symmetry(first, np.random.default_rng(0))
    assert twin is not None
    if id(first) not in computed:
        computed[id(first)] = compute(first, tmp_path)
    check_twin(computed[id(first)], compute(twin.trial, tmp_path / "twin"), twin)
