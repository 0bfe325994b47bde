"""The figures of layers: fluctuations against depth, signal to noise, correlations, two-time kernels, alignment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from figure_checks import draw, has_curve
from result_stand_ins import WIDTHS

from fwdmft.plotting import FIGURES
from fwdmft.plotting.entries import some_times
from fwdmft.plotting.style import width_colors


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return stand_ins.tree()


def _over_points(values: xr.DataArray) -> np.ndarray:
    """Mean of the entries (..., P, P) or (..., P, C, P, C) of a kernel with themselves."""
    with_outputs = "output" in values.dims
    ordered = values.transpose(
        ..., "point", *["output"] * with_outputs, "point_prime", *["output_prime"] * with_outputs
    )
    count = values.sizes["point"] * (values.sizes["output"] if with_outputs else 1)
    return np.einsum("...icic->..." if with_outputs else "...ii->...", ordered.values) / count


@pytest.mark.parametrize("outputs", [1, 3])
def test_layers_show_the_variance_of_each_at_three_times(outputs: int) -> None:
    tree = stand_ins.tree(outputs)
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    axes = draw("layers", tree).axes
    assert [panel.get_title() for panel in axes[:3]] == ["$t = 0$", "$t = 10$", "$t = 20$"]
    for row, name in ((axes[:3], "feature_kernel"), (axes[3:], "gradient_kernel")):
        for panel, time in zip(row, (0, 10, 20), strict=True):
            assert has_curve(panel, _over_points(theory[f"{name}_variance"].sel(time=time)))
            measured = ensemble[f"{name}_variance"].sel(time=time, width=256)
            assert has_curve(panel, 256 * _over_points(measured))


def test_layers_are_compared_at_common_times(tree: xr.DataTree) -> None:
    rare = xr.DataTree.from_dict({"/": tree.to_dataset(), **{name: tree[name].to_dataset() for name in tree}})
    rare["ensemble"] = xr.DataTree(tree["ensemble"].to_dataset().isel(time=[0, 6, 20]))
    titles = [panel.get_title() for panel in draw("layers", rare).axes[:3]]
    assert titles == ["$t = 0$", "$t = 6$", "$t = 20$"]


@pytest.mark.parametrize("outputs", [1, 3])
def test_signal_to_noise_of_every_layer(outputs: int) -> None:
    tree = stand_ins.tree(outputs)
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    panels = {panel.get_title(): panel for panel in draw("signal_to_noise", tree).axes}
    assert list(panels) == ["$K$", r"$\Phi^{1}$", r"$\Phi^{2}$", "$G^{1}$", "$G^{2}$"]
    shown = {"$K$": ("tangent_kernel", {}), "$G^{2}$": ("gradient_kernel", {"layer": 1})}
    for title, (name, layer) in (shown | {r"$\Phi^{1}$": ("feature_kernel", {"layer": 0})}).items():
        ratio = theory[name].isel(layer) / np.sqrt(theory[f"{name}_variance"].isel(layer))
        assert has_curve(panels[title], _over_points(ratio))
        one = ensemble.sel(width=64)
        measured = _over_points((one[f"{name}_mean"] / np.sqrt(64 * one[f"{name}_variance"])).isel(layer))
        assert has_curve(panels[title], measured[some_times(len(measured))])


def test_signal_to_noise_of_no_layer_leaves_its_panel(tree: xr.DataTree) -> None:
    rising = tree.copy(deep=True)
    for half in ("theory", "ensemble"):
        rising[f"{half}/gradient_kernel_signal_to_noise"].loc[{"layer": 2}] *= 10
    for panel in draw("signal_to_noise", rising).axes:
        assert panel.get_ylim()[0] == 0
        assert all(line.get_ydata().max() < panel.get_ylim()[1] for line in panel.get_lines())


def test_signal_to_noise_leaves_out_entries_that_do_not_fluctuate(tree: xr.DataTree) -> None:
    quiet = tree.copy(deep=True)
    for role in ("signal_to_noise", "signal_to_noise_standard_error"):
        quiet[f"theory/tangent_kernel_{role}"][:, 0, 0, 0, 0] = np.nan
    rest = quiet["theory/tangent_kernel_signal_to_noise"].isel(output=0, output_prime=0).values
    panel = draw("signal_to_noise", quiet).axes[0]
    assert has_curve(panel, np.mean([rest[:, point, point] for point in range(1, 6)], axis=0))


def test_layer_covariance_is_shown_as_correlation(tree: xr.DataTree) -> None:
    first, last = draw("layer_covariance", tree).axes[:2]
    covariance = tree["theory/layer_covariance"].values[-1].reshape(4, 4)
    spread = np.sqrt(np.diag(covariance))
    shown = np.asarray(last.get_images()[0].get_array())
    np.testing.assert_allclose(shown, covariance / spread[:, None] / spread[None])
    assert [tick.get_text() for tick in last.get_xticklabels()] == [r"$\Phi^{1}$", r"$\Phi^{2}$", "$G^{1}$", "$G^{2}$"]
    assert [panel.get_title() for panel in (first, last)] == ["$t = 0$", "$t = 20$"]
    assert last.get_images()[0].get_clim() == (-1, 1)
    assert [text.get_text() for text in last.texts][1] == f"{shown[0, 1]:.2f}".replace("-", "\N{MINUS SIGN}")


def test_layer_that_does_not_fluctuate_has_no_correlation(tree: xr.DataTree) -> None:
    quiet = tree.copy(deep=True)
    quiet["theory/layer_covariance"][:, 1, 1] = 0.0
    quiet["theory/layer_covariance"][:, :, :, 1, 1] = 0.0
    panel = draw("layer_covariance", quiet).axes[0]
    shown = np.ma.filled(panel.get_images()[0].get_array(), np.nan)
    assert np.isnan(shown[3]).all() and np.isnan(shown[:, 3]).all() and np.isfinite(shown[:3, :3]).all()
    assert len(panel.texts) == 9


@pytest.mark.parametrize("outputs", [1, 3])
def test_two_time_kernels_and_their_spread(outputs: int) -> None:
    tree = stand_ins.tree(outputs)
    theory = tree["theory"].to_dataset()
    axes = [panel for panel in draw("two_time", tree).axes if panel.get_title()]
    assert len(axes) == 4 * stand_ins.DEPTH
    at = {"point": 0, "point_prime": 0}
    one_output = {**at, "output": 0, "output_prime": 0}
    kernel = theory["feature_kernel_two_time"].isel(layer=1, **at)
    spread = np.sqrt(theory["gradient_kernel_two_time_variance"].isel(layer=0, **one_output))
    np.testing.assert_allclose(axes[1].collections[0].get_array(), kernel.transpose("time", "time_prime"))
    np.testing.assert_allclose(axes[6].collections[0].get_array(), spread.transpose("time", "time_prime"))
    assert axes[1].collections[0].get_clim() == (0, float(kernel.max()))


def test_two_time_kernels_without_variance_or_with_one_time(tree: xr.DataTree) -> None:
    plain = stand_ins.tree(of=stand_ins.theory(1, False, False))
    assert len([panel for panel in draw("two_time", plain).axes if panel.get_title()]) == 2 * stand_ins.DEPTH
    start = xr.DataTree.from_dict({"/data": tree["data"].to_dataset()})
    start["theory"] = xr.DataTree(tree["theory"].to_dataset().isel(time=[0], time_prime=[0]))
    assert FIGURES["two_time"](start) is None


def test_two_time_kernels_with_negative_entries_are_centred_on_zero(tree: xr.DataTree) -> None:
    signed = tree.copy(deep=True)
    signed["theory/feature_kernel_two_time"][...] *= -1
    axes = [panel for panel in draw("two_time", signed).axes if panel.get_title()]
    low, high = axes[0].collections[0].get_clim()
    assert low == -high and axes[2].collections[0].get_clim()[0] == 0


def test_alignment_lines_are_the_data(tree: xr.DataTree) -> None:
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    axes = draw("alignment", tree).axes
    assert has_curve(axes[0], theory["tangent_kernel_alignment"])
    assert has_curve(axes[2], theory["feature_kernel_alignment"].sel(layer=2))
    for width in WIDTHS:
        assert has_curve(axes[0], ensemble["tangent_kernel_alignment"].sel(width=width))
        assert has_curve(axes[2], ensemble["feature_kernel_alignment"].sel(width=width, layer=2))
    assert {panel.get_ylim() for panel in axes} == {axes[0].get_ylim()} and axes[0].get_ylim()[0] == 0


def test_theory_is_dashed_black_over_coloured_networks(tree: xr.DataTree) -> None:
    theory, colors = tree["theory"].to_dataset(), width_colors(WIDTHS).values()
    wanted = theory["feature_kernel_alignment"].sel(layer=1)
    for line in draw("alignment", tree).axes[1].get_lines():
        is_theory = np.allclose(line.get_ydata(), wanted)
        assert (line.get_color() == "black") == is_theory == line.is_dashed()
        assert is_theory or line.get_color() in colors


def test_one_hidden_layer_is_no_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_ins, "DEPTH", 1)
    shallow = stand_ins.tree(of=replace(stand_ins.theory(), responses={}))
    assert [name for name, draw in FIGURES.items() if draw(shallow) is None] == ["layers"]
    assert [panel.get_title() for panel in draw("alignment", shallow).axes] == ["$K$", r"$\Phi^{1}$"]
    assert len(draw("signal_to_noise", shallow).axes) == 3


def test_few_of_many_layers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_ins, "DEPTH", 9)
    titles = [panel.get_title() for panel in draw("alignment", stand_ins.tree()).axes]
    assert titles == ["$K$", *(rf"$\Phi^{{{layer}}}$" for layer in (1, 3, 5, 7, 9))]
