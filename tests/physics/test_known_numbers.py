"""Two-layer tanh networks at gamma0 = 1 against their own ensembles and against recorded numbers."""

import numpy as np
import pytest
import xarray as xr

from fwdmft.results.comparison import predicted_deviation, squared_deviation
from fwdmft.testing.agreement import Estimate, assert_equal, assert_zero, extrapolated
from tests.physics.comparison import assert_networks_agree, of_networks, of_theory

pytestmark = pytest.mark.optimized

TRAIN = {"time": [15, 30, 59], "point": 0, "output": 0}
TRAIN_PAIR = TRAIN | {"point_prime": 0, "output_prime": 0}


def test_infinite_width(tanh_run: xr.DataTree) -> None:
    """Recorded with an independent implementation of the same algorithm and as many neurons, so with the same error,
    and rounded to four digits."""
    for name, entry, recorded in (
        ("prediction", TRAIN, [0.4658, 0.7031, 0.9042]),
        ("tangent_kernel", TRAIN_PAIR, [0.7801, 0.7625, 0.7698]),
    ):
        q = of_theory(tanh_run, name, **entry)
        difference = q - Estimate(np.array(recorded), q.squared_errors, q.freedom)
        np.testing.assert_array_less(np.abs(difference.value), difference.bound + 5e-5)


def test_fluctuations_against_recorded_ensemble(tanh_run: xr.DataTree) -> None:
    """60 000 networks of width 128: N Var to 0.6 %, from which ours of width 24 remove the next order."""
    for name, entry, recorded in (
        ("prediction", TRAIN, [0.0760, 0.0624, 0.0157]),
        ("tangent_kernel", TRAIN_PAIR, [0.288, 0.161, 0.0998]),
    ):
        measured = Estimate.of(np.array(recorded), 0.006 * np.array(recorded), 60_000)
        ours = of_networks(tanh_run, f"{name}_variance", 24, **entry) * 24
        sigma = of_theory(tanh_run, f"{name}_variance", **entry)
        assert_zero(f"N Var {name}", extrapolated((24, 128), (ours, measured)) - sigma, float(np.max(sigma.value)))


def test_bias_and_variance_against_networks(tanh_run: xr.DataTree) -> None:
    """Of everything, at all times. That b of the feature kernel is small here."""
    assert_networks_agree(tanh_run, biased=("prediction", "tangent_kernel", "gradient_kernel"))


def test_scaling_with_width(tanh_run: xr.DataTree) -> None:
    """N E |f_N - f|^2 tends to Sigma."""
    theory, ensemble = tanh_run["theory"].to_dataset(), tanh_run["ensemble"].to_dataset()
    actual, expected = (of(theory, ensemble, "prediction") for of in (squared_deviation, predicted_deviation))
    at_widths = []
    for n, members in zip(ensemble["width"].values, ensemble["members"].values, strict=True):
        value, error = (n * part.sel(width=n).values for part in (actual.value, actual.error))
        at_widths.append(Estimate.of(value, error, int(members)))
    sigma = of_theory(tanh_run, "prediction_variance")
    # All entries of a trajectory may fluctuate together.
    mean_error = np.sqrt(sigma.squared_errors[0]).mean()
    averaged = Estimate.of(sigma.value.mean(), mean_error, int(sigma.freedom[0]) + 1)
    widths = ensemble["width"].values.tolist()
    np.testing.assert_allclose(expected * ensemble["width"], averaged.value)
    assert_zero("N E |f_N - f|^2", extrapolated(widths, at_widths) - averaged, float(averaged.value))


def test_loss_at_width(tanh_run: xr.DataTree) -> None:
    """N (E L_N - L), extrapolated, is what the theory states; f enters L at all widths alike."""
    theory, ensemble = tanh_run["theory"].to_dataset(), tanh_run["ensemble"].to_dataset()
    widths = ensemble["width"].values.tolist()
    f, y = of_theory(tanh_run, "prediction", output=0), np.array([1.0, 0.0])
    loss = Estimate((f.value - y) ** 2 / 2, ((f.value - y) ** 2 * f.squared_errors[0],), f.freedom)
    assert_equal("loss", theory["loss"].transpose("time", "split").values, loss.value)
    ours = []
    for n, members in zip(widths, ensemble["members"].values, strict=True):
        at = ensemble.sel(width=n).transpose("time", "split", ...)
        ours.append(Estimate.of(at["loss_mean"].values, at["loss_mean_standard_error"].values, int(members)) * n)
    at = theory.sel(width=widths[0]).transpose("time", "split", ...)
    shift, error = (at["loss_at_width"] - at["loss"]).values, at["loss_at_width_standard_error"].values
    expected = Estimate.of(shift, error, int(of_theory(tanh_run, "prediction_bias").freedom[0]) + 1) * widths[0]
    difference = extrapolated(widths, ours) - loss * sum(widths) - expected
    assert (np.abs(expected.value) > difference.bound).any(axis=0).all(), "too uncertain to tell"
    assert_zero("N (E L_N - L)", difference, max(widths) * float(np.max(loss.value)))
