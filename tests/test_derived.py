"""Signal-to-noise ratios and alignments against direct formulas, and the error of the ratio against sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from result_stand_ins import TRAINED

from fwdmft.alignment import alignment, tangent_alignment
from fwdmft.observables import OBSERVABLES
from fwdmft.results import derived
from fwdmft.testing.agreement import ROUNDING

_KERNELS = ("tangent_kernel", "feature_kernel", "gradient_kernel")


@pytest.fixture(scope="module", params=[1, 3], ids=["one output", "three outputs"])
def tree(request: pytest.FixtureRequest) -> xr.DataTree:
    return stand_ins.tree(request.param)


# --- signal to noise ---


@pytest.mark.parametrize("name", _KERNELS)
def test_signal_to_noise_in_theory_and_ensemble(tree: xr.DataTree, name: str) -> None:
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    ratio = theory[f"{name}_signal_to_noise"]
    assert ratio.dims == theory[name].dims == theory[f"{name}_signal_to_noise_standard_error"].dims
    np.testing.assert_allclose(ratio, theory[name] / np.sqrt(theory[f"{name}_variance"]), rtol=ROUNDING)
    of_width = ensemble.sel(width=256)
    measured = of_width[f"{name}_mean"] / np.sqrt(256 * of_width[f"{name}_variance"])
    np.testing.assert_allclose(of_width[f"{name}_signal_to_noise"], measured, rtol=ROUNDING)
    assert ensemble[f"{name}_signal_to_noise"].dims == ("width", *theory[name].dims)


def test_ensembles_drawn_from_the_theory_have_its_signal_to_noise(tree: xr.DataTree) -> None:
    """Once the shift b / N of the mean is taken off.

    Entries are independent and their errors Gaussian, so the mean square of the scores has standard deviation
    sqrt(2 / count).
    """
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset().sel(width=1024)
    for name in _KERNELS:
        error = np.hypot(
            ensemble[f"{name}_signal_to_noise_standard_error"], theory[f"{name}_signal_to_noise_standard_error"]
        )
        gap = ensemble[f"{name}_signal_to_noise"] - theory[f"{name}_signal_to_noise"]
        shift = theory[f"{name}_bias"] / 1024 / np.sqrt(theory[f"{name}_variance"])
        score = ((gap - shift) / error).values
        assert abs(np.mean(score**2) - 1) < 5 * np.sqrt(2 / score.size)


def test_error_of_signal_to_noise_is_its_spread() -> None:
    """Repeated ensembles of Gaussian members: the delta method leaves out relative orders 1/members."""
    members, repeats, width = 1000, 4000, 64
    draws = np.random.default_rng(3).normal(loc=0.8, scale=0.4, size=(repeats, members))
    mean, variance = draws.mean(axis=1), width * draws.var(axis=1, ddof=1)
    error = derived.signal_to_noise_error(
        mean, variance, draws.std(axis=1, ddof=1) / np.sqrt(members), variance * np.sqrt(2 / (members - 1))
    )
    spread = derived.signal_to_noise(mean, variance).std(ddof=1)
    assert abs(spread / error.mean() - 1) < 4 / np.sqrt(2 * (repeats - 1)) + 4 / members


def test_entries_that_do_not_fluctuate_have_no_signal_to_noise() -> None:
    """Neither have those whose variance is estimated to be negative."""
    with np.errstate(all="raise"):
        ratio = derived.signal_to_noise(np.array([2.0, 3.0, 0.0, 1.0]), np.array([4.0, 0.0, 0.0, -1e-3]))
        error = derived.signal_to_noise_error(*(np.array([value, 0.0]) for value in (2.0, 4.0, 0.6, 1.2)))
    assert ratio[0] == 1.0 and np.isnan(ratio[1:]).all()
    # of the mean 0.6 / 2, of the variance 1 * 1.2 / 8
    assert error[0] == pytest.approx(np.hypot(0.3, 0.15)) and np.isnan(error[1])


def test_signal_to_noise_needs_variances() -> None:
    theory = stand_ins.tree(of=stand_ins.theory(fluctuations=False))["theory"]
    assert not any("signal_to_noise" in str(name) for name in theory.data_vars)


# --- alignment ---


def _alignment_by_hand(kernel: np.ndarray, y: np.ndarray) -> float:
    """Over all pairs of (point, output) one by one; kernel (P, C, P, C), y (P, C)."""
    places = [(point, output) for point in range(y.shape[0]) for output in range(y.shape[1])]
    overlap = sum(y[a] * kernel[a + b] * y[b] for a in places for b in places)
    norm = np.sqrt(sum(kernel[a + b] ** 2 for a in places for b in places))
    return overlap / (sum(y[a] ** 2 for a in places) * norm)


def test_tangent_alignment_by_hand(tree: xr.DataTree) -> None:
    theory, ensemble, y = tree["theory"], tree["ensemble"], tree["data/y"].values[:TRAINED]
    assert theory["tangent_kernel_alignment"].dims == ("time",)
    assert ensemble["tangent_kernel_alignment"].dims == ("width", "time")
    for time in (0, 13):
        kernel = theory["tangent_kernel"].values[time, :TRAINED, :, :TRAINED]
        assert theory["tangent_kernel_alignment"].values[time] == pytest.approx(_alignment_by_hand(kernel, y))
        mean = ensemble["tangent_kernel_mean"].values[1, time, :TRAINED, :, :TRAINED]
        assert ensemble["tangent_kernel_alignment"].values[1, time] == pytest.approx(_alignment_by_hand(mean, y))


def test_feature_alignment_by_hand(tree: xr.DataTree) -> None:
    """With Phi the same for all outputs: sqrt(C) times the alignment of Phi times the identity over outputs."""
    theory, ensemble, y = tree["theory"], tree["ensemble"], tree["data/y"].values[:TRAINED]
    assert theory["feature_kernel_alignment"].dims == ("layer", "time")
    assert ensemble["feature_kernel_alignment"].dims == ("width", "layer", "time")
    outputs = y.shape[1]
    for half, kernels in ((theory, theory["feature_kernel"]), (ensemble, ensemble["feature_kernel_mean"][2])):
        measured = half["feature_kernel_alignment"].values.reshape(-1, 2, stand_ins.STEPS)[-1]
        for layer, time in ((0, 5), (1, 20)):
            phi = kernels.values[layer, time, :TRAINED, :TRAINED]
            joint = np.einsum("ij,cd->icjd", phi, np.eye(outputs))
            assert measured[layer, time] == pytest.approx(_alignment_by_hand(joint, y) * np.sqrt(outputs))


def test_alignment_of_known_kernels() -> None:
    y = np.random.default_rng(0).normal(size=(5, 2))
    flat = y.reshape(-1, 1)
    target = (flat @ flat.T).reshape(5, 2, 5, 2)
    assert tangent_alignment(target, y) == pytest.approx(1)
    assert tangent_alignment(-7 * target, y) == pytest.approx(-1)
    assert alignment(np.eye(5), y) == pytest.approx(1 / np.sqrt(5))
    assert alignment(y[:, :1] @ y[:, :1].T, y[:, :1]) == pytest.approx(1)
    orthogonal = np.linalg.svd(y, full_matrices=True)[0][:, 2:]
    assert alignment(orthogonal @ orthogonal.T, y) == pytest.approx(0, abs=1e-14)


def test_alignment_leaves_test_points_out() -> None:
    truth = stand_ins.theory()
    altered = {name: value.copy() for name, value in truth.mean.items()}
    altered["tangent_kernel"][:, TRAINED:] = 1e3
    altered["feature_kernel"][..., TRAINED:] = -1e3
    before, after = (stand_ins.tree(of=of, networks=[])["theory"] for of in (truth, replace(truth, mean=altered)))
    for name in ("tangent_kernel_alignment", "feature_kernel_alignment"):
        np.testing.assert_array_equal(before[name], after[name])


def test_alignment_with_vanishing_targets_is_undefined() -> None:
    with np.errstate(all="raise"):
        assert np.isnan(alignment(np.eye(3), np.zeros((3, 1))))
        assert np.isnan(alignment(np.zeros((2, 3, 3)), np.ones((3, 1)))).all()


def test_no_alignment_without_training_points(tree: xr.DataTree) -> None:
    """As in online learning, where none is among the points observed."""
    y = tree["data"]["y"].values
    theory, ensemble = dict(tree["theory"].to_dataset().variables), dict(tree["ensemble"].to_dataset().variables)
    widths = tree["ensemble"]["width"].values.tolist()
    for train, expected in ((np.zeros(len(y), bool), False), (np.ones(len(y), bool), True)):
        of_ensemble = derived.of_ensemble(ensemble, OBSERVABLES, widths, y, train)
        for actual in (derived.of_theory(theory, y, train), of_ensemble):
            assert ("tangent_kernel_alignment" in actual) == expected and "tangent_kernel_signal_to_noise" in actual
