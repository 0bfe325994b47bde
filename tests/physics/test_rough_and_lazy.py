"""What derivatives in single neurons could not do: kinks in depth and in convolutions, and lazy networks in depth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fwdmft.meanfield.sample_estimates import GROUPS
from fwdmft.testing.agreement import Estimate, assert_zero
from tests.physics.conftest import Runner

THEORY = {"neurons": 2048, "draws": 2048, "draw_width": 16, "covariance": False}


def assert_networks_agree(tree: xr.DataTree, names: tuple[str, ...]) -> None:
    """N Var and N (E q_N - q) of two widths, extrapolated to infinite width, are Sigma and b within standard errors."""
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    first, second = (int(width) for width in ensemble.width)
    members = ensemble.members.values

    def networks(name: str) -> Estimate:
        """a of a + c / N."""
        each = [
            Estimate.of(ensemble[name][i].values, ensemble[f"{name}_standard_error"][i].values, int(members[i])) * width
            for i, width in enumerate((first, second))
        ]
        return each[1] * (second / (second - first)) - each[0] * (first / (second - first))

    def of_theory(name: str, samples: int) -> Estimate:
        return Estimate.of(theory[name].values, theory[f"{name}_standard_error"].values, samples)

    for name in names:
        sigma = of_theory(f"{name}_variance", GROUPS)
        assert_zero(f"N Var {name}", networks(f"{name}_variance") - sigma, float(np.max(sigma.value)))
        shift = networks(f"{name}_mean") - of_theory(name, 4) * (first + second)
        size = second * float(np.max(np.abs(theory[name].values)))
        assert_zero(f"bias of {name}", shift - of_theory(f"{name}_bias", GROUPS), size)


def test_lazy_networks_in_depth(run: Runner) -> None:
    """b of all kernels and of f, and of Phi at t = 0 as well, where every parameterization has the same: of order 1."""
    tree = run(
        architecture={"kind": "deep", "depth": 2},
        parameterization={"kind": "neural_tangent"},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 11},
        data={"kind": "gaussian", "features": 8, "train": 2, "test": 1},
        theory=THEORY | {"save_every": 5},
        ensemble={"widths": [32, 96], "members": 2000, "samples": 0},
    )
    assert float(np.abs(tree["theory"]["feature_kernel_bias"]).max()) < 3
    assert_networks_agree(tree, ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel"))


def test_scale_of_relu(run: Runner) -> None:
    """relu(a h) / a = relu(h): everything is the same up to rounding for a = 1, 10 and 1/10."""
    found = [
        run(
            architecture={"kind": "mlp", "activation": "relu", "scale": scale},
            optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 10},
            data={"kind": "sphere", "features": 4, "train": 3, "test": 1},
            theory=THEORY | {"draws": 1024, "save_every": 3},
        )["theory"].to_dataset()
        for scale in (1.0, 10.0, 0.1)
    ]
    for name in ("prediction", "tangent_kernel"):
        for part, tolerance in (("", 1e-9), ("_variance", 0.01), ("_bias", 0.03)):
            expected = found[0][name + part].values
            for other in found[1:]:
                difference = other[name + part].values - expected
                # A neuron at the kink may round to either side, in single precision as often as once in 10^7.
                assert np.max(np.abs(difference)) < tolerance * np.max(np.abs(expected)), name + part


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
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 25},
        data={"kind": "file", "path": str(tmp_path / "x.npz")},
        theory=THEORY | {"draws": 1024, "save_every": 8, "basis_tolerance": 1e-3},
        ensemble={"widths": [32, 96], "members": [1500, 600], "samples": 0},
    )
    assert_networks_agree(tree, ("prediction",))
