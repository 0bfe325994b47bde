"""The figures of tasks: that their lines are the data."""

from __future__ import annotations

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from figure_checks import draw, has_curve
from result_stand_ins import WIDTHS


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return stand_ins.tree()


def test_task_against_width(tree: xr.DataTree) -> None:
    last = tree["ensemble"].to_dataset().isel(time=-1)
    panels = draw("task", tree).axes
    drawn = (
        ("loss_mean", "ensembled_loss"),
        ("accuracy_mean", "ensembled_accuracy"),
        ("prediction_relative_variance",),
    )
    for axes, names in zip(panels, drawn, strict=True):
        for name in names:
            for split in ("train", "test"):
                assert has_curve(axes, last[name].sel(split=split)), name
    assert panels[1].get_ylim()[1] <= 1


def test_without_classes_there_is_no_accuracy(tree: xr.DataTree) -> None:
    regression = xr.DataTree.from_dict({"/": tree.to_dataset(), **{name: tree[name].to_dataset() for name in tree}})
    actual = tree["ensemble"].to_dataset()
    regression["ensemble"] = xr.DataTree(actual.drop_vars([str(name) for name in actual if "accuracy" in str(name)]))
    assert len(draw("task", regression).axes) == 2


def test_collapse_scales_time_by_the_rate(tree: xr.DataTree) -> None:
    ensemble = tree["ensemble"].to_dataset()
    axes = draw("collapse", tree).axes
    for row, (prefix, name) in enumerate((("", "loss_mean"), ("ensembled_", "ensembled_loss"))):
        for width in WIDTHS:
            for panel in axes[3 * row : 3 * row + 2]:
                assert has_curve(panel, ensemble[name].sel(width=width, split="train"))
        lines = {tuple(line.get_xdata()) for line in axes[3 * row + 1].get_lines()}
        assert lines == {tuple(ensemble[f"{prefix}scaled_time"].sel(width=width).values) for width in WIDTHS}
        limit, shift = (float(ensemble[f"{prefix}training_rate_{part}"]) for part in ("limit", "shift"))
        fit = axes[3 * row + 2].get_lines()[-1]
        np.testing.assert_allclose(fit.get_ydata(), limit - shift * np.asarray(fit.get_xdata()))


def test_a_single_width_has_rates_but_no_law() -> None:
    axes = draw("collapse", stand_ins.tree(networks=stand_ins.ensemble()[:1])).axes
    assert axes[1].get_title() == "a single width" and axes[2].get_legend() is None
