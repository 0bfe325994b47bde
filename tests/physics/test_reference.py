"""Two-layer erf networks against an ensemble made by independent code.

reference/two_layer_erf.npz: means and variances over 20 000 networks of width 512, three training points, one test
point (loss summed, centred predictions). Arrays prediction (time, point) and tangent_kernel (time, point, point).
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fwdmft.testing.agreement import Estimate, assert_zero
from tests.physics.comparison import of_theory, recorded_limit
from tests.physics.conftest import Runner

pytestmark = pytest.mark.optimized

FILE = Path(__file__).parent.parent / "reference" / "two_layer_erf.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def tree(run: Runner, reference: dict[str, np.ndarray]) -> xr.DataTree:
    return run(
        architecture={"kind": "mlp", "activation": "erf"},
        parameterization={"kind": "mean_field", "gamma0": float(reference["gamma0"])},
        optimizer={
            "kind": "gradient_descent",
            "learning_rate": float(reference["learning_rate"]),
            "steps": int(reference["steps"]),
        },
        data={"kind": "file", "path": str(FILE)},
        theory={"neurons": 16384, "replicates": 16, "draws": 8192, "draw_width": 16},
        ensemble={"widths": [64], "members": 6000, "samples": 0},
    )


def test_prediction_mean(tree: xr.DataTree, reference: dict[str, np.ndarray]) -> None:
    """q + b / N; without b it would be off by more."""
    width, members = int(reference["width"]), int(reference["members"])
    error = np.sqrt(reference["prediction_variance"] / members)
    bare = Estimate.of(reference["prediction_mean"], error, members) - of_theory(tree, "prediction", output=0)
    assert_zero("mean", bare - of_theory(tree, "prediction_bias", output=0) * (1 / width), 1.0)
    assert (np.abs(bare.value) > bare.bound)[1:].any()


@pytest.mark.parametrize("name", ["prediction", "tangent_kernel"])
def test_variance(tree: xr.DataTree, reference: dict[str, np.ndarray], name: str) -> None:
    """N Var, from which networks of width 64, trained here, remove the next order."""
    sigma = of_theory(tree, f"{name}_variance", output=0, output_prime=0)
    assert_zero(f"N Var {name}", recorded_limit(tree, name, reference) - sigma, float(np.max(sigma.value)))
