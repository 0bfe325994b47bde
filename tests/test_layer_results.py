"""What results of deep networks hold besides: two-time kernels, covariances between layers, response functions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from result_stand_ins import STEPS

from fwdmft.results import agreement, open_result, write_result
from fwdmft.testing.agreement import ROUNDING


@pytest.fixture(scope="module", params=[1, 3], ids=["one output", "three outputs"])
def outputs(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def reread(outputs: int, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    folder: Path = tmp_path_factory.mktemp("results")
    return open_result(write_result(stand_ins.tree(outputs), folder / "result.nc"))


def test_two_time_kernels_keep_their_axes(reread: xr.DataTree, outputs: int) -> None:
    theory, of_engine = reread["theory"].to_dataset(), stand_ins.theory(outputs)
    features = ("layer", "time", "point", "time_prime", "point_prime")
    gradients = ("layer", "time", "point", "output", "time_prime", "point_prime", "output_prime")
    for name, dims in (("feature_kernel", features), ("gradient_kernel", gradients)):
        for suffix in ("", "_variance", "_bias", "_standard_error", "_variance_standard_error"):
            assert theory[f"{name}_two_time{suffix}"].dims == dims
        np.testing.assert_array_equal(theory[f"{name}_two_time_variance"], of_engine.variance[f"{name}_two_time"])
        equal_times = {"time": xr.DataArray([3, 20], dims="t"), "time_prime": xr.DataArray([3, 20], dims="t")}
        single = theory[name].isel(time=[3, 20]).rename(time="t")
        np.testing.assert_allclose(
            theory[f"{name}_two_time"].isel(equal_times).transpose(*single.dims), single, rtol=ROUNDING
        )
    assert theory["time_prime"].values.tolist() == list(range(STEPS))


def test_two_time_kernels_of_networks_are_kept_but_not_compared() -> None:
    truth = stand_ins.theory()
    extra = {"feature_kernel_two_time": truth.mean["feature_kernel_two_time"]}
    networks = [replace(one, mean=one.mean | extra) for one in stand_ins.ensemble()]
    for of in (truth, None):
        tree = stand_ins.tree(of=of, networks=networks)
        dims = ("width", "layer", "time", "point", "time_prime", "point_prime")
        assert tree["ensemble/feature_kernel_two_time_mean"].dims == dims
        assert "time_prime" in tree["ensemble"].coords
    assert agreement(stand_ins.tree(networks=networks))["variable"].values.tolist() == list(stand_ins.DIMS)


def test_layer_covariance_names_its_kernels(reread: xr.DataTree) -> None:
    covariance, of_engine = reread["theory/layer_covariance"], stand_ins.theory().layer_covariance
    assert covariance.dims == ("time", "kernel", "layer", "kernel_prime", "layer_prime")
    assert of_engine is not None
    mixed = covariance.sel(kernel="gradient", layer=2, kernel_prime="feature", layer_prime=1)
    np.testing.assert_array_equal(mixed, of_engine[:, 1, 1, 0, 0])


def test_responses_are_diagnostics_of_each_hidden_matrix(reread: xr.DataTree, outputs: int) -> None:
    diagnostics = reread["diagnostics"]
    for name, letter in (("feature_response", "A^l"), ("gradient_response", "B^l")):
        actual = diagnostics[name]
        assert actual.dims == ("matrix", "time", "point", "time_prime", "point_prime")
        assert letter in actual.attrs["long_name"]
        np.testing.assert_array_equal(actual, stand_ins.theory(outputs).responses[name])
    assert diagnostics["matrix"].values.tolist() == [1]
    assert diagnostics["time"].values.tolist() == diagnostics["time_prime"].values.tolist() == list(range(STEPS))


def test_responses_of_matrices_used_more_than_once_have_uses() -> None:
    theory = stand_ins.theory()
    uses = np.arange(4.0).reshape(2, 1, 1, 2)
    twice = {name: a[:, :, :, None, :, :, None] * uses for name, a in theory.responses.items()}
    diagnostics = stand_ins.tree(of=replace(theory, responses=twice))["diagnostics"]
    for name, expected in twice.items():
        actual = diagnostics[name]
        assert actual.dims == ("matrix", "time", "point", "use", "time_prime", "point_prime", "use_prime")
        np.testing.assert_array_equal(actual, expected)
    assert diagnostics["use"].values.tolist() == diagnostics["use_prime"].values.tolist() == [1, 2]


def test_no_responses_without_theory() -> None:
    assert "feature_response" not in stand_ins.tree(of=None)["diagnostics"]
    assert "time_prime" not in stand_ins.tree(of=stand_ins.theory(two_time=False))["diagnostics"].coords
