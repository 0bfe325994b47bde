"""What derivatives in single neurons could not do: kinks in depth and in convolutions, and lazy networks in depth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwdmft.testing.agreement import assert_equal
from tests.physics.comparison import assert_networks_agree
from tests.physics.conftest import Runner

THEORY = {"neurons": 2048, "draws": 2048, "draw_width": 8, "covariance": False}


def test_lazy_networks_in_depth(run: Runner) -> None:
    """b of all kernels and of f, and of Phi at t = 0 as well, where every parameterization has the same: of order 1."""
    tree = run(
        architecture={"kind": "deep", "depth": 2},
        parameterization={"kind": "neural_tangent"},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 11},
        data={"kind": "gaussian", "features": 8, "train": 2, "test": 1},
        theory=THEORY | {"save_every": 5, "relative_error": 0.01},
        ensemble={"widths": [32, 96], "members": 2000, "samples": 0},
    )
    assert float(np.abs(tree["theory"]["feature_kernel_bias"]).max()) < 3
    assert_networks_agree(tree, ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel"))


def test_scale_of_relu(run: Runner) -> None:
    """relu(a h) / a = relu(h): everything is the same for a = 1, 8 and 1/8, powers of two, which round nothing: a
    neuron at the kink could end on either side."""
    collected = [
        run(
            architecture={"kind": "mlp", "activation": "relu", "scale": scale},
            optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 10},
            data={"kind": "sphere", "features": 4, "train": 3, "test": 1},
            theory=THEORY | {"draws": 1024, "save_every": 3},
        )["theory"].to_dataset()
        for scale in (1.0, 8.0, 0.125)
    ]
    for name in ("prediction", "tangent_kernel"):
        for part in ("", "_variance", "_bias"):
            for other in collected[1:]:
                assert_equal(name + part, other[name + part].values, collected[0][name + part].values)


@pytest.mark.parametrize(
    "activation", [{"activation": "relu", "gain": 2**0.5}], ids=lambda settings: settings["activation"]
)
def test_deep_rectifiers(run: Runner, two_points: str, activation: dict[str, Any]) -> None:
    tree = run(
        architecture={"kind": "deep", "depth": 2, **activation},
        parameterization={"kind": "mean_field", "gamma0": 1.0},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 10},
        data={"kind": "file", "path": two_points},
        theory=THEORY | {"neurons": 4096, "save_every": 3},
        ensemble={"widths": [48, 144], "members": [3000, 2000], "samples": 0},
    )
    assert_networks_agree(tree, ("prediction", "tangent_kernel"))


@pytest.mark.optimized
def test_convolutional_rectifiers(run: Runner, tmp_path: Path) -> None:
    """Two layers on three small images, whose backward fields are rough: vectors are many, and yet N Var f is known."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=random.standard_normal((3, 4, 4, 2)), y=np.array([[1.0], [-1.0], [1.0]]), train=2)
    tree = run(
        architecture={
            "kind": "cnn",
            "depth": 2,
            "activation": "relu",
            "gain": 2**0.5,
            "padding": "circular",
            "readout": "global_average",
        },
        parameterization={"kind": "mean_field", "gamma0": 1.0},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 5},
        data={"kind": "file", "path": str(tmp_path / "x.npz")},
        theory=THEORY | {"draws": 4096, "save_every": 3, "basis_tolerance": 1e-3},
        ensemble={"widths": [24, 72], "members": 1500, "samples": 0},
    )
    assert_networks_agree(tree, ("prediction",))
