"""Online learning of a single-index teacher by tanh networks: theory against ensembles, and what the result holds."""

import numpy as np
import pytest
import xarray as xr

import fwdmft
from fwdmft.datasets.loading import load_points
from fwdmft.plotting import FIGURES
from tests.physics.comparison import assert_networks_agree, of_theory
from tests.physics.conftest import Runner

EXPERIMENT = {
    "architecture": {"kind": "mlp", "activation": "tanh", "bias": 0.3},
    "parameterization": {"kind": "mean_field", "center": False},
    "optimizer": {
        "kind": "gradient_descent",
        "learning_rate": 0.4,
        "steps": 7,
        "data": "online",
        "batch": {"size": 2},
    },
    "data": {
        "kind": "sphere",
        "features": 4,
        "train": 20,
        "test": 2,
        "teacher": {"kind": "single_index", "link": "tanh"},
    },
    "theory": {"neurons": 8192, "replicates": 8, "draws": 4096, "draw_width": 8, "save_every": 3, "covariance": False},
    "ensemble": {"widths": [48, 144], "members": 2000, "kernels": False},
}


@pytest.fixture(scope="module")
def result(run: Runner) -> xr.DataTree:
    return run(**EXPERIMENT)


def test_networks_are_as_predicted(result: xr.DataTree) -> None:
    """E q_N = q + b / N and N Var q_N = Sigma."""
    assert_networks_agree(result, ("prediction",))


def test_networks_learn_from_the_stream(result: xr.DataTree) -> None:
    """The comparison is not about networks that hardly change."""
    f = of_theory(result, "prediction")
    assert (np.abs((f[-1] - f[0]).value) > (f[-1] - f[0]).bound).all()


def test_results_are_about_the_test_points(result: xr.DataTree) -> None:
    data, loaded = result["data"], fwdmft.load_experiment({"name": "test", **EXPERIMENT})
    assert data["split"].values.tolist() == ["test", "test"]
    assert (data.attrs["stream_points"], data.attrs["stream_points_per_step"]) == (14, 2)
    np.testing.assert_array_equal(data["x"], load_points(loaded).x[20:])
    for loss in (result["theory/loss"], result["theory/loss_at_width"], result["ensemble/loss_mean"]):
        assert np.isfinite(loss.sel(split="test")).all() and np.isnan(loss.sel(split="train")).all()
    assert result["theory/tangent_kernel_variance"].sizes["point"] == 2
    assert "tangent_kernel_signal_to_noise" in result["theory"]
    assert "tangent_kernel_alignment" not in result["theory"]


def test_figures_show_the_test_points(result: xr.DataTree) -> None:
    drawn = {name: FIGURES[name](result) for name in ("kernels", "variance", "alignment")}
    assert drawn["alignment"] is None and drawn["kernels"] is not None
    assert drawn["variance"] is not None
    titles = " ".join(axes.get_title() for axes in drawn["variance"].axes)
    assert "test 0, test 1" in titles and "train" not in titles
