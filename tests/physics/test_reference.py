"""Two-layer erf networks against an ensemble made by independent code.

reference/two_layer_erf.npz: means and variances over 20 000 networks of width 512, three training points, one test
point (loss summed, centred predictions). Arrays prediction (time, point) and tangent_kernel (time, point, point).
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.physics.conftest import Runner

pytestmark = pytest.mark.optimized

FILE = Path(__file__).parent.parent / "reference" / "two_layer_erf.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def theory(run: Runner, reference: dict[str, np.ndarray]) -> xr.Dataset:
    tree = run(
        architecture={"kind": "mlp", "activation": "erf"},
        parameterization={"kind": "mean_field", "gamma0": float(reference["gamma0"])},
        optimizer={
            "kind": "gradient_descent",
            "learning_rate": float(reference["learning_rate"]),
            "steps": int(reference["steps"]),
        },
        data={"kind": "file", "path": str(FILE)},
        theory={"neurons": 16384, "replicates": 8, "draws": 8192, "draw_width": 32},
    )
    return tree["theory"].to_dataset().isel(output=0, output_prime=0)


def test_prediction_mean(theory: xr.Dataset, reference: dict[str, np.ndarray]) -> None:
    """Within 4 standard errors plus b/N at every time; without b it would be off by more."""
    width, members = int(reference["width"]), int(reference["members"])
    error = np.hypot(np.sqrt(reference["prediction_variance"] / members), theory["prediction_standard_error"])[1:]
    bare = (reference["prediction_mean"] - theory["prediction"])[1:]
    assert float(np.abs((bare - theory["prediction_bias"][1:] / width) / error).max()) < 4
    assert float(np.abs(bare / error).max()) > 4


@pytest.mark.parametrize("name", ["prediction", "tangent_kernel"])
def test_variance(theory: xr.Dataset, reference: dict[str, np.ndarray], name: str) -> None:
    """N Var within 3 % and 4 standard errors; those of a variance over near-Gaussian members are sqrt(2/M)."""
    measured = int(reference["width"]) * reference[f"{name}_variance"][1:]
    computed = theory[f"{name}_variance"].values[1:]
    error = np.hypot(measured * np.sqrt(2 / int(reference["members"])), theory[f"{name}_variance_standard_error"][1:])
    np.testing.assert_array_less(np.abs(measured - computed), 0.03 * computed + 4 * error)
    assert np.mean(np.abs(measured - computed)) < 0.03 * np.mean(computed)
