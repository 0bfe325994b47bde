"""The lazy limit, large learning rates, and convergence in the number of sample neurons."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

import fwdmft
from fwdmft.meanfield.sample_estimates import GROUPS
from fwdmft.testing.agreement import Estimate, assert_zero
from tests.physics.conftest import Runner


def _setting(two_points: str, **sections: Any) -> dict[str, Any]:
    base = {
        "architecture": {"kind": "mlp", "activation": "tanh"},
        "parameterization": {"kind": "mean_field", "gamma0": 1.0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 30},
        "data": {"kind": "file", "path": two_points},
    }
    return {**base, **sections}


def test_lazy_limit(run: Runner, two_points: str) -> None:
    """gamma0 = 1e-3 through the engine equals the closed lazy dynamics: q to 1 %, N Var within standard errors. (The
    bias of neural tangent networks is extended by what they learn at order 1/N.)"""
    theory = {"neurons": 8192, "draws": 4096, "draw_width": 16}
    rich = run(**_setting(two_points, parameterization={"kind": "mean_field", "gamma0": 1e-3}, theory=theory))
    lazy = run(**_setting(two_points, parameterization={"kind": "neural_tangent"}, theory=theory))
    for name in ("prediction", "tangent_kernel"):
        computed, limit = (tree["theory"][name].values for tree in (rich, lazy))
        np.testing.assert_allclose(computed, limit, rtol=0.01, atol=1e-3 * np.abs(limit).max(), err_msg=name)
        variance = f"{name}_variance"
        one, other = (
            Estimate.of(tree["theory"][variance].values, tree["theory"][f"{variance}_standard_error"].values, GROUPS)
            for tree in (rich, lazy)
        )
        assert_zero(variance, one - other, float(np.max(other.value)))


def test_neural_tangent_networks(run: Runner, two_points: str) -> None:
    """Networks with gamma0 = N^(-1/2): N Var, and the mean to order 1/N including what they learn at that order."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "neural_tangent"},
            theory={"neurons": 16384, "draws": 16384, "draw_width": 32},
            ensemble={"widths": [64], "members": 40000},
        )
    )
    width, theory, ensemble = 64, tree["theory"].to_dataset(), tree["ensemble"].to_dataset().isel(width=0)
    for name in ("prediction", "tangent_kernel"):
        shift = width * (ensemble[f"{name}_mean"] - theory[name])
        error = width * np.hypot(ensemble[f"{name}_mean_standard_error"], theory[f"{name}_standard_error"])
        error = np.hypot(error, theory[f"{name}_bias_standard_error"])
        next_order = np.abs(theory[f"{name}_bias"]) * 8 / width
        excess = np.abs(shift - theory[f"{name}_bias"]) - next_order
        assert float((excess / error).where(error > 0).max()) < 4, name
    # The kernel moves at order 1/N, and only because networks of this parameterization learn features.
    late = {"time": -1, "point": 0, "point_prime": 0}
    moved = float(theory["tangent_kernel_bias"].isel(late).squeeze() - theory["tangent_kernel_bias"].isel(time=0).max())
    assert abs(moved) > 5 * float(theory["tangent_kernel_bias_standard_error"].isel(late).squeeze())


@pytest.mark.parametrize(("gamma0", "rate"), [(1.0, 1.2), (2.0, 0.5), (4.0, 0.2), (6.0, 0.1)])
def test_catapults(run: Runner, two_points: str, gamma0: float, rate: float) -> None:
    """Large learning rates, where the final K comes near 2 / eta: mean and N Var at N = 1000."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "mean_field", "gamma0": gamma0},
            optimizer={"kind": "gradient_descent", "learning_rate": rate, "steps": 30},
            theory={"neurons": 8192},
            # Converged predictions differ between networks by less than single precision resolves.
            ensemble={"widths": [1000], "members": 1000, "precision": "float64"},
        )
    )
    width, theory, ensemble = 1000, tree["theory"].to_dataset(), tree["ensemble"].to_dataset().isel(width=0)
    for name in ("prediction", "tangent_kernel"):
        sigma, bias = theory[f"{name}_variance"], theory[f"{name}_bias"]
        mean_error = np.hypot(ensemble[f"{name}_mean_standard_error"], theory[f"{name}_standard_error"])
        mean_error = np.hypot(mean_error, theory[f"{name}_bias_standard_error"] / width)
        score = (ensemble[f"{name}_mean"] - theory[name] - bias / width) / mean_error
        assert float(np.abs(score).where(sigma > 0).max()) < 4, name
        error = np.hypot(width * ensemble[f"{name}_variance_standard_error"], theory[f"{name}_variance_standard_error"])
        # Terms of order 1/N, in units of the largest N Var: late ones inherit from early ones.
        next_order = 4 * sigma.max() / width
        excess = np.abs(width * ensemble[f"{name}_variance"] - sigma) - next_order
        assert float((excess / error).where(sigma > 0).max()) < 4, name


def test_gradient_flow_of_networks(run: Runner, two_points: str) -> None:
    """Networks and theory reach the same small-step limit: mean to order 1/N and N Var; plain steps are far from it."""
    flow = {"kind": "gradient_flow", "learning_rate": 0.3, "steps": 9, "tolerance": 1e-3}
    settings = {
        "theory": {"neurons": 4096, "draws": 1024, "draw_width": 16, "save_every": 4},
        "ensemble": {"widths": [64], "members": 1500},
    }
    tree = run(**_setting(two_points, optimizer=flow, **settings))
    width, theory, ensemble = 64, tree["theory"].to_dataset(), tree["ensemble"].to_dataset().isel(width=0)
    assert int(tree["diagnostics"]["substeps"]) > 1
    for name in ("prediction", "tangent_kernel"):
        sigma, bias = theory[f"{name}_variance"], theory[f"{name}_bias"]
        error = np.hypot(ensemble[f"{name}_mean_standard_error"], theory[f"{name}_standard_error"])
        error = np.hypot(error, theory[f"{name}_bias_standard_error"] / width) + 1e-3 * np.abs(theory[name]).max()
        shift = ensemble[f"{name}_mean"] - theory[name] - bias / width
        assert float((np.abs(shift) / error).where(sigma > 0).max()) < 4, name
        error = np.hypot(width * ensemble[f"{name}_variance_standard_error"], theory[f"{name}_variance_standard_error"])
        excess = np.abs(width * ensemble[f"{name}_variance"] - sigma) - 4 * sigma.max() / width
        assert float((excess / error).where(sigma > 0).max()) < 4, name
    descent = {"kind": "gradient_descent", "learning_rate": 0.3, "steps": 9}
    plain = run(
        **_setting(two_points, optimizer=descent, theory={"neurons": 8192, "fluctuations": False, "bias": False})
    )
    difference = np.abs(plain["theory"]["prediction"] - theory["prediction"])
    assert float(difference.max()) > 20 * float(theory["prediction_standard_error"].max())


def test_catapult_known_numbers(run: Runner, two_points: str) -> None:
    """gamma0 = 2, eta = .5 at the last of 60 steps: N Var f_test .1911 from theory and networks alike, b of K within
    4 standard errors of .067 +- .010 from networks."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "mean_field", "gamma0": 2.0},
            optimizer={"kind": "gradient_descent", "learning_rate": 0.5, "steps": 60},
            theory={"neurons": 16384},
        )
    )
    last = tree["theory"].to_dataset().isel(time=-1, output=0, output_prime=0)
    test, train = last.isel(point=1), last.isel(point=0, point_prime=0)
    error = float(test["prediction_variance_standard_error"])
    assert abs(float(test["prediction_variance"]) - 0.1911) < 4 * np.hypot(error, 0.006 * 0.1911) + 5e-5
    error = float(train["tangent_kernel_bias_standard_error"])
    assert abs(float(train["tangent_kernel_bias"]) - 0.067) < 4 * np.hypot(error, 0.010)


def test_divergence_is_reported(run: Runner, two_points: str) -> None:
    """No file with NaN in it: the step at which predictions stop being finite is named."""
    optimizer = {"kind": "gradient_descent", "learning_rate": 50.0, "steps": 200}
    architecture = {"kind": "mlp", "activation": "linear"}
    with pytest.raises(fwdmft.ComputationError, match=r"diverged at infinite width.* at step \d+"):
        run(**_setting(two_points, architecture=architecture, optimizer=optimizer, theory={"neurons": 256}))
    with pytest.raises(fwdmft.ComputationError, match="networks of width 8 diverged"):
        ensemble = {"widths": [8], "members": 4}
        run(**_setting(two_points, architecture=architecture, optimizer=optimizer, ensemble=ensemble))


def test_convergence_in_neurons(run: Runner, two_points: str) -> None:
    """The Monte-Carlo error of f falls with S at least as S^-1/2 (by regression), faster under Sobol points, and the
    stated standard error is of its size."""
    counts, seeds = np.array([64, 256, 1024, 4096]), range(8)

    def prediction(neurons: int, seed: int, **more: Any) -> xr.DataTree:
        return run(
            **_setting(
                two_points,
                theory={"neurons": neurons, "replicates": 8, "draws": 1024, "seed": seed, "bias": False, **more},
            )
        )

    def late(tree: xr.DataTree, name: str) -> np.ndarray:
        return tree["theory"][name].values[10:, :, 0]

    plain = {"fluctuations": False}
    exact = np.mean([late(prediction(65536, seed, **plain), "prediction") for seed in seeds], axis=0)
    runs = [[late(prediction(int(n), seed, **plain), "prediction") for seed in seeds] for n in counts]
    errors = [np.sqrt(np.mean((np.array(each) - exact) ** 2)) for each in runs]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope < -0.6
    stated = np.sqrt(np.mean(late(prediction(4096, 0), "prediction_standard_error") ** 2))
    assert 0.5 * errors[-1] < stated < 8 * errors[-1]


def test_same_seed_same_numbers(run: Runner, two_points: str) -> None:
    """Everything is reproducible to the last bit, whatever threads and chunks did."""
    setting = _setting(two_points, theory={"neurons": 1024, "draws": 128}, ensemble={"widths": [16], "members": 50})
    first, second = run(**setting), run(**setting)
    for group in ("theory", "ensemble"):
        xr.testing.assert_identical(
            first[group].to_dataset().drop_vars("seconds", errors="ignore"),
            second[group].to_dataset().drop_vars("seconds", errors="ignore"),
        )
