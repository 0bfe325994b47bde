"""The lazy limit, large learning rates, and convergence in the number of sample neurons."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

import fwdmft
from fwdmft.engine.sobol_errors import widening
from fwdmft.testing.agreement import Estimate, assert_zero, rarely_exceeded
from tests.physics.comparison import assert_networks_agree, of_theory
from tests.physics.conftest import Runner

MANY = 60_000
"""Networks behind the recorded numbers."""


def _setting(two_points: str, **sections: Any) -> dict[str, Any]:
    base = {
        "architecture": {"kind": "mlp", "activation": "tanh"},
        "parameterization": {"kind": "mean_field", "gamma0": 1.0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 30},
        "data": {"kind": "file", "path": two_points},
    }
    return {**base, **sections}


def test_lazy_limit(run: Runner, two_points: str) -> None:
    """gamma0 = 1e-3 through the engine, other samples, equals the closed lazy dynamics: q and N Var, which depend on
    gamma0^2. (The bias of neural tangent networks is extended by what they learn at order 1/N.)"""
    theory = {"neurons": 8192, "replicates": 8, "draws": 4096, "draw_width": 16}
    rich, lazy = (
        run(**_setting(two_points, parameterization=parameterization, theory=theory | {"seed": seed}))
        for seed, parameterization in enumerate(({"kind": "mean_field", "gamma0": 1e-3}, {"kind": "neural_tangent"}))
    )
    for name in ("prediction", "tangent_kernel", "prediction_variance", "tangent_kernel_variance"):
        one, other = (of_theory(tree, name) for tree in (rich, lazy))
        assert_zero(name, one - other, float(np.max(np.abs(other.value))))


def test_neural_tangent_networks(run: Runner, two_points: str) -> None:
    """Networks with gamma0 = N^(-1/2): N Var, and the mean to order 1/N including what they learn at that order."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "neural_tangent"},
            theory={"neurons": 16384, "replicates": 8, "draws": 16384, "draw_width": 16},
            ensemble={"widths": [32, 128], "members": [20000, 8000]},
        )
    )
    assert_networks_agree(tree, ("prediction", "tangent_kernel"))
    # The kernel moves at order 1/N, and only because networks of this parameterization learn features.
    b = of_theory(tree, "tangent_kernel_bias", point=0, point_prime=0)
    moved = b[-1] - b[0]
    assert (np.abs(moved.value) > moved.bound).all()


@pytest.mark.parametrize(("gamma0", "rate"), [(1.0, 1.2), (2.0, 0.5), (4.0, 0.2), (6.0, 0.1)])
def test_catapults(run: Runner, two_points: str, gamma0: float, rate: float) -> None:
    """Large learning rates, where the final K comes near 2 / eta: mean and N Var."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "mean_field", "gamma0": gamma0},
            optimizer={"kind": "gradient_descent", "learning_rate": rate, "steps": 30},
            theory={"neurons": 8192, "replicates": 8},
            # Each case has networks of its own. Converged predictions differ by less than single precision resolves.
            ensemble={"widths": [128, 512], "members": [1500, 1000], "precision": "float64", "seed": int(gamma0)},
        )
    )
    assert_networks_agree(tree, ("prediction", "tangent_kernel"))


def test_gradient_flow_of_networks(run: Runner, two_points: str) -> None:
    """Networks and theory reach the same small-step limit, to far below their errors; plain steps do not."""
    flow = {"kind": "gradient_flow", "learning_rate": 0.3, "steps": 9, "tolerance": 1e-5}
    settings = {
        "theory": {"neurons": 4096, "replicates": 8, "draws": 1024, "draw_width": 8, "save_every": 4},
        "ensemble": {"widths": [32, 96], "members": 1500},
    }
    tree = run(**_setting(two_points, optimizer=flow, **settings))
    assert int(tree["diagnostics"]["substeps"]) > 1
    assert_networks_agree(tree, ("prediction", "tangent_kernel"))
    descent = {"kind": "gradient_descent", "learning_rate": 0.3, "steps": 9}
    theory = {"neurons": 8192, "replicates": 8, "save_every": 4, "fluctuations": False, "bias": False, "seed": 1}
    plain = run(**_setting(two_points, optimizer=descent, theory=theory))
    difference = of_theory(plain, "prediction") - of_theory(tree, "prediction")
    assert (np.abs(difference.value) > 4 * difference.bound).any()


def test_catapult_known_numbers(run: Runner, two_points: str) -> None:
    """gamma0 = 2, eta = .5 at the last of 60 steps, from networks: N Var f_test .1911 to 0.6 %, b of K .067 +- .010."""
    tree = run(
        **_setting(
            two_points,
            parameterization={"kind": "mean_field", "gamma0": 2.0},
            optimizer={"kind": "gradient_descent", "learning_rate": 0.5, "steps": 60},
            theory={"neurons": 16384},
        )
    )
    variance = of_theory(tree, "prediction_variance", time=-1, point=1, output=0)
    bias = of_theory(tree, "tangent_kernel_bias", time=-1, point=0, point_prime=0, output=0, output_prime=0)
    for name, actual, recorded, error in (("N Var", variance, 0.1911, 0.006 * 0.1911), ("b", bias, 0.067, 0.010)):
        assert_zero(name, actual - Estimate.of(np.array(recorded), np.array(error), MANY), 1.0)


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
    """The stated variance of f falls faster than S^-1, as Sobol points make it, and is the variance over seeds.

    Both by Fisher's distribution, at one time. The stated one has the degrees of freedom of all samplings.
    """
    replicates, seeds, counts = 8, 16, (256, 4096)

    def predictions(neurons: int) -> tuple[float, float]:
        """At the last time and the training point: variance over seeds, mean stated variance."""
        theory = {"neurons": neurons, "replicates": replicates, "fluctuations": False, "bias": False, "save_every": 29}
        trees = [run(**_setting(two_points, theory=theory | {"seed": seed})) for seed in range(seeds)]
        actual = [of_theory(tree, "prediction", time=-1, point=0, output=0) for tree in trees]
        stated = np.mean([each.squared_errors[0] for each in actual]) / widening(replicates - 1) ** 2
        return float(np.var([each.value for each in actual], ddof=1)), float(stated)

    measured = [predictions(count) for count in counts]
    freedom = seeds - 1, seeds * (replicates - 1)
    gain = measured[0][1] / measured[1][1] / (counts[1] / counts[0])
    assert gain > rarely_exceeded(freedom[1], freedom[1]), f"S times the variance falls by a factor {gain:.3g}"
    for variance, stated in measured:
        assert variance / stated < rarely_exceeded(*freedom) and stated / variance < rarely_exceeded(*freedom[::-1])


def test_same_seed_same_numbers(run: Runner, two_points: str) -> None:
    """Everything is reproducible to the last bit, whatever threads and chunks did."""
    setting = _setting(two_points, theory={"neurons": 1024, "draws": 128}, ensemble={"widths": [16], "members": 50})
    first, second = run(**setting), run(**setting)
    for group in ("theory", "ensemble"):
        xr.testing.assert_identical(
            first[group].to_dataset().drop_vars("seconds", errors="ignore"),
            second[group].to_dataset().drop_vars("seconds", errors="ignore"),
        )
