"""Theory with kernels between some of the points: the same numbers, and memory linear in the number of points."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr
from experiments import experiment

import fwdmft
from fwdmft.engine import infinite_width
from fwdmft.engine.dynamics import trajectory
from fwdmft.engine.simulation import Observing, gaussian_matrices
from fwdmft.errors import InputError
from fwdmft.kernel_points import kernel_points
from fwdmft.preparing import prepare
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.weights import InputWeights
from fwdmft.resources import check_memory
from fwdmft.results import comparison
from fwdmft.results.scores import agreement

MODELS: dict[str, dict[str, Any]] = {
    "two layers": {"architecture": {"kind": "mlp", "bias": 0.3}},
    "deep": {"architecture": {"kind": "deep", "depth": 2}},
    "cnn": {
        "architecture": {"kind": "cnn", "depth": 1},
        "data": {"kind": "digits", "train": 3, "test": 1, "resolution": 4},
    },
    "lazy": {"architecture": {"kind": "mlp"}, "parameterization": {"kind": "neural_tangent"}},
}


def solved(model: str, **theory: Any) -> xr.Dataset:
    small = {"neurons": 64, "covariance": False, "draws": 32, "draw_width": 4, "replicates": 2} | theory
    if model == "lazy":
        small |= {"fluctuations": False, "bias": False}
    if model == "two layers":  # by linear response, which draws would replace
        small = {name: value for name, value in small.items() if not name.startswith("draw")}
    changes = {
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 2},
        "data": {"kind": "gaussian", "features": 3, "train": 4, "test": 1, "outputs": 2, "seed": 1},
        "ensemble": None,
    }
    return fwdmft.run(fwdmft.load_experiment(experiment(theory=small, **(changes | MODELS[model]))))[
        "theory"
    ].to_dataset()


@pytest.mark.parametrize("model", MODELS)
def test_kernels_are_the_rows_of_those_of_all_points(model: str) -> None:
    """q, Sigma, b, and kernels between times, from the same random numbers."""
    two_time = {"two_time": True} if model == "cnn" else {}
    whole, some = solved(model, **two_time), solved(model, kernel_points=2, **two_time)
    at = some.kernel_point.values
    assert at.tolist() == ([0, 1] if model == "cnn" else [0, 2])
    assert "feature_kernel" not in some and ("subset_gradient_kernel_two_time_bias" in some) == bool(two_time)
    for name in [str(name) for name in some if str(name).startswith(("subset_", "prediction"))]:
        full = whole[name.removeprefix("subset_")]
        if name.startswith("subset_"):
            full = full.isel(point=at, point_prime=at)
        if name.endswith("standard_error"):
            continue  # pooled over all entries
        error = 1e-5 * float(abs(full).max())  # draws are in single precision
        if name.endswith("bias"):
            # It weighs two estimates by errors that are pooled over entries.
            errors = whole[f"{name.removeprefix('subset_')}_standard_error"]
            if name.startswith("subset_"):
                errors = errors.isel(point=at, point_prime=at)
            error += 2 * (some[f"{name}_standard_error"].values + errors.values)
        # Undefined where the estimate of a variance is negative.
        np.testing.assert_array_equal(np.isnan(some[name]), np.isnan(full), err_msg=name)
        difference = np.nan_to_num(abs(some[name].values - full.values))
        np.testing.assert_array_less(difference, error + 1e-300, err_msg=name)


def test_no_array_of_all_pairs_of_points_is_made() -> None:
    """Every array of a pass of 300 points is smaller than one number for each pair of them."""
    points, features, neurons, gaussian = 300, 3, 16, np.random.default_rng(0)
    with jax.enable_x64(True):
        task = prepare(
            fwdmft.load_experiment(
                experiment(
                    data={"kind": "gaussian", "features": features, "train": points, "test": 0},
                    theory={"kernel_points": 4, "neurons": neurons},
                    ensemble=None,
                )
            )
        ).theory
        assert task is not None and isinstance(task.equations, ForwardProgram)
        noise = {p.name: gaussian.standard_normal((p.gaussians, neurons)) for p in task.equations.populations}

        def one_pass(equations: ForwardProgram) -> Any:
            matrices = gaussian_matrices(equations, noise, momentum=False)
            return trajectory(equations, noise, matrices, task.training(), Observing().__call__)

        sizes = {
            "some": largest(eqx.filter_make_jaxpr(one_pass)(task.equations)[0].jaxpr),
            "all": largest(eqx.filter_make_jaxpr(one_pass)(task.equations.at_kernel_points(None))[0].jaxpr),
        }
    assert sizes["some"] <= points * max(neurons, len(task.times)) < points**2 <= sizes["all"]


def largest(jaxpr: Any) -> int:
    """Size of the largest array in a program, its inner programs included."""
    arrays = [*jaxpr.invars, *jaxpr.constvars, *(out for one in jaxpr.eqns for out in one.outvars)]
    parameters = [value for one in jaxpr.eqns for value in jax.tree.leaves(list(one.params.values()))]
    inner = [getattr(value, "jaxpr", value) for value in parameters]
    sizes = [getattr(array.aval, "size", 0) for array in arrays]
    return max([*sizes, *(largest(one) for one in inner if hasattr(one, "eqns"))], default=0)


def test_input_weights_of_many_points_take_memory_linear_in_them() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    weights = InputWeights(x, sigma_w=1.5, sigma_b=0.4)
    assert sum(a.size for a in jax.tree.leaves(weights)) == 2 * 50 * 4
    largest_entries = np.take_along_axis(weights.factor, np.abs(weights.factor).argmax(axis=0)[None], axis=0)
    assert np.all(largest_entries > 0)


def test_points_are_evenly_spread_over_those_trained_on() -> None:
    train = np.array([False, True, True, True, False, True, True])
    assert kernel_points(None, train) is None
    assert [kernel_points(count, train).tolist() for count in (1, 2, 9)] == [[1], [1, 3], [1, 2, 3, 5, 6]]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def halves() -> dict[tuple[str, int | None], xr.Dataset]:
    """Groups theory and ensemble with kernels between 2, 3 and all of 5 training points."""
    actual = {}
    for count in (2, 3, None):
        tree = fwdmft.run(
            fwdmft.load_experiment(
                experiment(
                    optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 2},
                    data={"kind": "digits", "train": 5, "test": 1},
                    theory={"neurons": 64, "fluctuations": False, "bias": False, "kernel_points": count},
                    ensemble={"widths": [4, 8], "members": 4, "kernel_points": count},
                )
            )
        )
        actual |= {(half, count): tree[half].to_dataset() for half in ("theory", "ensemble")}
    return actual


@pytest.mark.parametrize(
    ("theory", "ensemble", "common"),
    [(2, 2, [0, 2]), (2, 3, [0]), (3, None, [0, 1, 3]), (None, 2, [0, 2])],
)
def test_theory_and_ensembles_are_compared_at_common_points(
    halves: dict, theory: int | None, ensemble: int | None, common: list[int]
) -> None:
    pair = halves["theory", theory], halves["ensemble", ensemble]
    residual = comparison.mean_residual(*pair, "subset_tangent_kernel")
    assert residual.value.kernel_point.values.tolist() == common
    full = halves["ensemble", None]["tangent_kernel_mean"] - halves["theory", None]["tangent_kernel"]
    expected = full.isel(point=common, point_prime=common)
    np.testing.assert_allclose(residual.value.transpose(*_renamed(expected.dims)), expected, atol=1e-5)
    numbers = agreement(xr.DataTree.from_dict(dict(zip(("theory", "ensemble"), pair, strict=True))))
    assert "subset_feature_kernel" in numbers["variable"] and "feature_kernel" not in numbers["variable"]
    once = numbers["mean_entries"].sel(variable="subset_tangent_kernel").isel(width=0)
    assert once == 2 * len(common) * (len(common) + 1) / 2  # times, and pairs of points once


def _renamed(dims: tuple) -> list[str]:
    return [f"kernel_{dim}" if dim in ("point", "point_prime") else str(dim) for dim in dims]


def test_refused_where_field_equations_have_kernels_of_all_points_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ForwardProgram, "at_kernel_points")
    with pytest.raises(InputError, match="theory.kernel_points: got 2; expected no number for architecture mlp"):
        prepare(fwdmft.load_experiment(experiment(theory={"kernel_points": 2})))


def needed(points: int, **changes: Any) -> int:
    data = {"kind": "gaussian", "features": 3, "train": points, "test": 0}
    theory = {"kernel_points": 4, "neurons": 64, "fluctuations": False, "bias": False}
    return prepare(fwdmft.load_experiment(experiment(data=data, theory=theory, ensemble=None, **changes))).peak_bytes


def test_the_estimate_of_memory_is_linear_in_points_but_for_the_lazy_limit() -> None:
    few, more, many = (needed(points) for points in (500, 1000, 1500))
    assert many - more == more - few
    lazy = {"parameterization": {"kind": "neural_tangent"}}
    assert needed(1500, **lazy) - many > 2 * 8 * 1500**2
    with pytest.raises(InputError, match="take fewer points, as the lazy limit holds K between all of them"):
        check_memory(1 << 60, force=False, lazy=True)
    with pytest.raises(InputError, match="set theory.kernel_points, raise theory.save_every"):
        check_memory(1 << 60, force=False)


def test_neurons_are_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that asks for more neurons than their fields have room for."""
    wanted = {"relative_error": 1e-6, "fluctuations": False, "bias": False}
    mapping = experiment(theory=wanted, ensemble=None, data={"kind": "gaussian", "features": 3, "train": 4, "test": 1})
    task = prepare(fwdmft.load_experiment(mapping)).theory
    assert task is not None and task.site_numbers == 3 * 5  # features, gradients, contributions to f
    monkeypatch.setattr(infinite_width, "FEWEST", 16)
    monkeypatch.setattr(infinite_width, "TRIED", 32)
    monkeypatch.setattr(infinite_width, "MOST_NUMBERS", 100 * 3 * 5)
    assert fwdmft.run(fwdmft.load_experiment(mapping))["diagnostics/neurons"] == 64
