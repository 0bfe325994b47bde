"""The figures: which are drawn, that their lines are the data, and that files appear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from figure_checks import draw, has_curve
from result_stand_ins import WIDTHS

from fwdmft.errors import InputError
from fwdmft.plotting import FIGURES, plot
from fwdmft.plotting.entries import some_times
from fwdmft.plotting.errors import SHOWN
from fwdmft.plotting.scaling import fitted_power
from fwdmft.results import write_result
from fwdmft.results.comparison import Estimate, measured_bias, squared_deviation


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return stand_ins.tree()


def test_every_figure_is_written(tmp_path: Path) -> None:
    one_width = stand_ins.tree(networks=stand_ins.ensemble()[:1])
    result = write_result(one_width, tmp_path / "result.nc")
    written = plot(result, tmp_path / "new" / "figures")
    assert [path.name for path in written] == [f"{name}.png" for name in FIGURES]
    for path in written:
        image = matplotlib.image.imread(path)
        assert path.stat().st_size > 10_000 and image[..., :3].std() > 0.05


def test_drawing_leaves_matplotlib_as_it_was(tree: xr.DataTree) -> None:
    before = dict(matplotlib.rcParams)
    draw("loss", tree)
    assert dict(matplotlib.rcParams) == before


def test_loss_lines_are_the_data(tree: xr.DataTree) -> None:
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    for axes, split in zip(draw("loss", tree).axes[:2], ("train", "test"), strict=True):
        assert axes.get_title() == f"{split} points"
        assert has_curve(axes, theory["loss"].sel(split=split))
        for width in WIDTHS:
            chosen = {"split": split, "width": width}
            assert has_curve(axes, theory["loss_at_width"].sel(chosen))
            assert has_curve(axes, ensemble["loss_mean"].sel(chosen))
            assert has_curve(axes, ensemble["ensembled_loss"].sel(chosen))


def test_loss_excess_is_relative_to_infinite_width(tree: xr.DataTree) -> None:
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    for axes, split in zip(draw("loss", tree).axes[2:], ("train", "test"), strict=True):
        infinite = theory["loss"].sel(split=split)
        for position, width in enumerate(WIDTHS):
            chosen = {"split": split, "width": width}
            assert has_curve(axes, theory["loss_at_width"].sel(chosen) / infinite - 1)
            assert has_curve(axes, ensemble["ensembled_loss"].sel(chosen) / infinite - 1)
            single = ensemble["loss_mean"].sel(chosen) / infinite - 1
            assert has_curve(axes, single.isel(time=some_times(len(single), shift=position / len(WIDTHS))))
        assert [text.get_text() for text in axes.texts] == [f"$N = {width}$" for width in WIDTHS]


def test_loss_excess_has_the_error_of_the_theory(tree: xr.DataTree) -> None:
    theory, axes = tree["theory"].to_dataset().sel(split="train"), draw("loss", tree).axes[2]
    edges = np.concatenate([band.get_paths()[0].vertices for band in axes.collections if len(band.get_paths()) == 1])
    for width in WIDTHS:
        here = theory.sel(width=width)
        excess = here["loss_at_width"] / here["loss"] - 1
        upper = (excess + 2 * here["loss_at_width_standard_error"] / here["loss"]).values[-1]
        assert np.isclose(edges[:, 1], upper).any()


def test_loss_excess_compares_equal_times(tree: xr.DataTree) -> None:
    rare = xr.DataTree.from_dict({"/": tree.to_dataset(), **{name: tree[name].to_dataset() for name in tree}})
    rare["theory"] = xr.DataTree(tree["theory"].to_dataset().isel(time=[0, 10, 20], time_prime=[0, 10, 20]))
    axes = draw("loss", rare).axes[2]
    at_common = tree["ensemble/ensembled_loss"].sel(split="train", width=64).isel(time=[0, 10, 20])
    assert has_curve(axes, at_common / rare["theory/loss"].sel(split="train") - 1)


def test_width_labels_stand_beside_their_lines_but_apart(tree: xr.DataTree) -> None:
    close = tree.copy(deep=True)
    at_width = close["theory/loss_at_width"]
    at_width.loc[{"width": 64}] = 3 * at_width.sel(width=64).values
    at_width.loc[{"width": 1024}] = at_width.sel(width=256).values
    axes = draw("loss", close).axes[2]
    places = [text.get_position()[1] for text in axes.texts]
    ends = [close["theory/loss_at_width"].sel(split="train", width=n).values[-1] for n in (64, 256)]
    infinite = float(close["theory/loss"].sel(split="train")[-1])
    low, high = axes.get_ylim()
    np.testing.assert_allclose(places[:2], [(end / infinite - 1 - low) / (high - low) for end in ends])
    assert 0.05 < places[1] - places[2] < 0.1


def test_loss_excess_over_a_vanishing_loss(tree: xr.DataTree) -> None:
    vanishing = tree.copy(deep=True)
    vanishing["theory/loss"][-2:] = [[1e-9, 1e-9], [0.0, 0.0]]
    axes = draw("loss", vanishing).axes[2]
    assert axes.get_yscale() == "symlog"
    assert not axes.texts  # the lines do not reach the end


def test_loss_excess_needs_infinite_and_finite_width() -> None:
    assert len(draw("loss", stand_ins.tree(networks=[])).axes) == 4
    assert len(draw("loss", stand_ins.tree(of=None)).axes) == 2
    assert len(draw("loss", stand_ins.tree(of=stand_ins.theory(1, False, False), networks=[])).axes) == 2


@pytest.mark.parametrize("outputs", [1, 3])
def test_predictions_show_theory_bands_and_members(outputs: int) -> None:
    tree = stand_ins.tree(outputs)
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    axes = draw("predictions", tree).axes
    assert len(axes) == 2 * 4  # the smallest and the middle width; two training and two test points
    at = {"point": 0, "output": outputs - 1}
    middle = theory["prediction"].isel(at) + theory["prediction_bias"].isel(at) / 64
    edge = middle + 2 * np.sqrt(theory["prediction_variance"].isel(at) / 64)
    assert has_curve(axes[0], middle) and has_curve(axes[0], edge)
    assert has_curve(axes[0], ensemble["sample_prediction"].sel(width=64).isel(sample=7, **at))
    assert "N = 256" in axes[4].get_ylabel()


def test_variance_lines_are_the_data(tree: xr.DataTree) -> None:
    axes = draw("variance", tree).axes
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    assert has_curve(axes[0], theory["prediction_variance"].isel(point=0, output=0))
    pair = {"point": 0, "output": 0, "point_prime": 4, "output_prime": 0}
    assert has_curve(axes[5], theory["tangent_kernel_variance"].isel(pair))
    narrowest = 64 * ensemble["tangent_kernel_variance"].sel(width=64).isel(pair)
    assert has_curve(axes[5], narrowest.isel(time=some_times(len(narrowest))))
    assert axes[5].get_title() == "$K$: train 0, test 4"


def test_bias_lines_are_the_data(tree: xr.DataTree) -> None:
    axes = draw("bias", tree).axes
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    pair = {"point": 0, "output": 0, "point_prime": 0, "output_prime": 0}
    assert has_curve(axes[3], theory["tangent_kernel_bias"].isel(pair))
    measured = measured_bias(theory, ensemble, "tangent_kernel").value.sel(width=64).isel(pair)
    assert has_curve(axes[3], measured.isel(time=some_times(len(measured))))


def test_bias_axis_is_not_ruled_by_the_noisiest_width(tree: xr.DataTree) -> None:
    low, high = draw("bias", tree).axes[0].get_ylim()
    errors = measured_bias(tree["theory"].to_dataset(), tree["ensemble"].to_dataset(), "prediction").error
    longest_bar = 2 * SHOWN * float(errors.sel(width=1024).isel(point=0).max())
    assert high - low < longest_bar


def test_kernels_are_ordered_by_split_then_target_on_one_scale() -> None:
    tree = stand_ins.tree(3)
    axes = [panel for panel in draw("kernels", tree).axes if panel.get_images()]
    assert len(axes) == 8  # theory at three times and the widest networks, for K and Phi
    order = np.array([0, 3, 1, 2, 4, 5])  # training targets 0 0 1 2, then test targets 1 2
    end = tree["theory/feature_kernel"].isel(layer=-1, time=-1).values[np.ix_(order, order)]
    np.testing.assert_allclose(axes[6].get_images()[0].get_array(), end)
    k = tree["theory/tangent_kernel"].isel(time=0).values
    mean_over_outputs = np.mean([k[:, c, :, c] for c in range(3)], axis=0)
    np.testing.assert_allclose(axes[0].get_images()[0].get_array(), mean_over_outputs[np.ix_(order, order)])
    assert len({axes[column].get_images()[0].get_clim() for column in range(4)}) == 1


def test_kernels_with_negative_entries_are_centred_on_zero(tree: xr.DataTree) -> None:
    signed = tree.copy(deep=True)
    signed["theory/tangent_kernel"][...] *= -1
    low, high = draw("kernels", signed).axes[0].get_images()[0].get_clim()
    assert low == -high


def test_scaling_shows_points_theory_and_slope(tree: xr.DataTree) -> None:
    axes = draw("scaling", tree).axes
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    for panel, name in zip(axes, ("prediction", "tangent_kernel"), strict=True):
        measured = squared_deviation(theory, ensemble, name)
        for width in WIDTHS:
            assert has_curve(panel, measured.value.sel(width=[width]))
        assert has_curve(panel, float(theory[f"{name}_variance"].mean()) / np.array(WIDTHS))
        slope, error, _ = fitted_power(measured)
        assert -1.1 < slope < -0.9
        assert f"${slope:.2f}$ (s.e. {error:.2f})" in panel.get_legend().get_texts()[1].get_text()


def test_fitted_power_by_hand() -> None:
    width = xr.DataArray([1.0, 10.0, 100.0], dims="width", coords={"width": [1, 10, 100]})
    slope, error, offset = fitted_power(Estimate(3 / width**2, 0.3 / width**2))
    assert slope == pytest.approx(-2) and np.exp(offset) == pytest.approx(3)
    assert error == pytest.approx(0.1 / np.sqrt(2) / np.log(10))
    assert all(np.isnan(fitted_power(Estimate(width[:2], width[:2]))))


_NEEDS_THEORY = {"bias", "scaling", "layer_covariance", "two_time"}
_DRAWN = {
    "ensemble only": ({"of": None}, [name for name in FIGURES if name not in _NEEDS_THEORY]),
    "theory only": ({"networks": []}, [name for name in FIGURES if name not in ("scaling", "task", "collapse")]),
    "no variance, no bias": (
        {"of": stand_ins.theory(1, False, False)},
        [name for name in FIGURES if name != "layer_covariance"],
    ),
    "no bias": ({"of": stand_ins.theory(1, True, False)}, list(FIGURES)),
    "no two-time kernels": (
        {"of": stand_ins.theory(two_time=False)},
        [name for name in FIGURES if name != "two_time"],
    ),
    "mean only": (
        {"of": stand_ins.theory(1, False, False, two_time=False), "networks": []},
        ["loss", "predictions", "kernels", "alignment"],
    ),
}


@pytest.mark.parametrize("case", _DRAWN)
def test_partial_results_are_drawn_as_far_as_they_go(case: str) -> None:
    parts, expected = _DRAWN[case]
    partial = stand_ins.tree(**parts)
    assert [name for name, draw in FIGURES.items() if draw(partial) is not None] == expected


def test_networks_without_kernels() -> None:
    """Ensembles that measured predictions only draw nothing of layers."""
    roles = ("mean", "mean_standard_error", "variance", "variance_standard_error")
    kept = [
        replace(one, **{r: {n: a for n, a in getattr(one, r).items() if "kernel" not in n} for r in roles})
        for one in stand_ins.ensemble()
    ]
    partial = stand_ins.tree(of=None, networks=kept)
    drawn = [name for name, draw in FIGURES.items() if draw(partial) is not None]
    assert drawn == ["loss", "predictions", "variance", "task", "collapse"]


def test_no_test_points_and_one_width() -> None:
    tree = stand_ins.tree(networks=stand_ins.ensemble()[:1])
    split = ("point", np.full(tree["data"].sizes["point"], "train"))
    tree["data"] = xr.DataTree(tree["data"].to_dataset().drop_vars("split").assign_coords(split=split))
    figures = {name: draw(name, tree) for name in FIGURES}
    assert len(figures["loss"].axes) == 2  # the loss and its excess
    assert len(figures["predictions"].axes) == 2  # one width, two training points


def test_an_unusable_directory_is_bad_input(tree: xr.DataTree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="output: got .*a directory that can be made"):
        plot(tree, tmp_path / "file" / "figures")


def test_times_are_thinned_evenly() -> None:
    assert some_times(5).tolist() == [0, 1, 2, 3, 4]
    assert some_times(101, most=6).tolist() == [0, 20, 40, 60, 80, 100]
    assert some_times(101, most=6, shift=0.5).tolist() == [10, 30, 50, 70, 90, 100]
