"""Small movements: draws of networks resolve them, and what no precision resolves is refused or warned of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import experiment

import fwdmft
from fwdmft.errors import ComputationError, FwdmftWarning

DRAWN = {"neurons": 64, "replicates": 2, "draws": 32, "draw_width": 8, "covariance": False}
POINTS = {"kind": "gaussian", "features": 3, "train": 2, "test": 1}
NETWORKS = {"widths": [8], "members": 4, "kernels": False}


def run(gamma0: float, **changes: Any) -> Any:
    return fwdmft.run(
        fwdmft.load_experiment(
            experiment(
                parameterization={"kind": "mean_field", "gamma0": gamma0},
                **{"data": POINTS, "theory": DRAWN, "ensemble": None} | changes,
            )
        )
    )


def test_draws_resolve_small_movements() -> None:
    """Small gamma0 is the lazy limit, up to gamma0^2: of N Var f, single precision would make thousands of it."""
    small, smaller = (run(gamma0)["theory"] for gamma0 in (1e-4, 1e-8))
    for name in ("prediction", "prediction_variance", "prediction_bias"):
        expected = small[name].values
        np.testing.assert_allclose(smaller[name].values, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("changes", [{"gamma0": 1e-13}, {"gamma0": 1.0, "rate": 1e-13}])
def test_what_double_precision_does_not_resolve_is_refused(changes: dict[str, float]) -> None:
    descent = {"kind": "gradient_descent", "learning_rate": changes.get("rate", 0.1), "steps": 3}
    with pytest.raises(ComputationError, match="by .* of their size, which double precision does not resolve"):
        run(changes["gamma0"], optimizer=descent)


def test_targets_that_cancel_are_learned(tmp_path: Path) -> None:
    np.savez(tmp_path / "twice.npz", x=np.ones((2, 2)), y=np.array([1.0, -1.0]))
    tree = run(1.0, data={"kind": "file", "path": str(tmp_path / "twice.npz")})
    assert np.abs(tree["theory"]["prediction"]).max() < 1e-15


def test_networks_of_single_precision_are_warned_of() -> None:
    with pytest.warns(FwdmftWarning, match="width 8: training moves fields by .*e-0.* set ensemble.precision to float"):
        run(1e-7, theory=None, ensemble=NETWORKS)


def test_zero_targets_are_learned(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    np.savez(tmp_path / "zero.npz", x=np.eye(3), y=np.zeros(3))
    tree = run(1.0, data={"kind": "file", "path": str(tmp_path / "zero.npz")}, ensemble=NETWORKS)
    assert np.abs(tree["theory"]["prediction"]).max() < 1e-15
    assert not [each for each in recwarn if each.category is FwdmftWarning]


def test_small_steps_follow_the_initial_kernel(tmp_path: Path) -> None:
    """f(t) = t eta K(0) y up to the second order in eta, with bases that leave out what is usual."""
    rng, eta = np.random.default_rng(0), 1e-6
    x, y = rng.normal(size=(3, 3)), np.array([1.0, -0.5, 0.0])
    np.savez(tmp_path / "points.npz", x=x, y=y, train=2)
    theory = run(
        1.0,
        architecture={"kind": "deep", "depth": 2},
        optimizer={"kind": "gradient_descent", "learning_rate": eta, "steps": 5},
        data={"kind": "file", "path": str(tmp_path / "points.npz")},
        theory={"neurons": 256, "replicates": 2, "fluctuations": False, "bias": False},
    )["theory"]
    expected = 4 * eta * np.tensordot(theory["tangent_kernel"].values[0, :, 0, :2, 0], y[:2], axes=1)
    np.testing.assert_allclose(theory["prediction"].values[-1, :, 0], expected, rtol=0, atol=1e-3 * abs(expected).max())
