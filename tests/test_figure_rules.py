"""What holds for all figures: a heading, bars and bands of two standard errors, nothing hidden, nothing made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from figure_checks import draw, half_bars
from matplotlib.figure import Figure

import fwdmft.plotting
from fwdmft.plotting import FIGURES, SWEEP_FIGURES
from fwdmft.plotting.entries import some_times
from fwdmft.plotting.errors import SHOWN
from fwdmft.plotting.sweep_panels import Line
from fwdmft.results.comparison import squared_deviation


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return stand_ins.tree()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_names_experiment_richness_rate_and_widths(tree: xr.DataTree, name: str) -> None:
    heading = draw(name, tree).get_suptitle()
    for part in ("Stand-in of a result", "deep tanh, $L$ = 2", r"$\gamma_0$ = 0.75", r"$\eta$ = 0.03"):
        assert part in heading
    infinite = name in ("layer_covariance", "two_time")
    assert (r"$N \to \infty$" if infinite else "$N$ = 64, 256, 1024") in heading


def test_a_lazy_experiment_and_one_without_facts() -> None:
    lazy = stand_ins.tree()
    lazy.attrs["experiment"] = '{"name": "lazy", "parameterization": {"kind": "neural_tangent"}}'
    assert r"$\gamma_0 = N^{-1/2}$" in draw("loss", lazy).get_suptitle()
    del lazy.attrs["experiment"]
    assert "$N$ = 64" in draw("loss", lazy).get_suptitle()


def test_bars_and_bands_are_of_two_standard_errors(tree: xr.DataTree) -> None:
    """Networks and theory, of quantities with errors of every kind."""
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    first = {"point": 0, "output": 0}
    kept = some_times(stand_ins.STEPS)
    error = 64 * ensemble["prediction_variance_standard_error"].sel(width=64).isel(first).values[kept]
    variance = draw("variance", tree).axes[0]
    assert any(np.allclose(bars, 2 * error) for bars in half_bars(variance))
    edges = variance.collections[-1].get_paths()[0].vertices[:, 1]
    upper = theory["prediction_variance"] + 2 * theory["prediction_variance_standard_error"]
    assert np.isclose(edges, upper.isel(first).values[-1]).any()
    last = ensemble.sel(split="test").isel(time=-1)
    task = draw("task", tree)
    assert any(np.allclose(b, 2 * last["loss_mean_standard_error"]) for b in half_bars(task.axes[0]))
    rough = tree.copy(deep=True)
    rough["ensemble/training_rate_standard_error"][...] = [0.1, 0.2, 0.3]
    np.testing.assert_allclose(np.ravel(half_bars(draw("collapse", rough).axes[2])), [0.2, 0.4, 0.6])
    deviation = 2 * squared_deviation(theory, ensemble, "prediction").error.values
    np.testing.assert_allclose(np.ravel(half_bars(draw("scaling", tree).axes[0])), deviation)
    excess = draw("loss", tree).axes[2]
    relative = ensemble["loss_mean_standard_error"] / theory["loss"]
    assert any(np.allclose(b, 2 * relative.sel(split="train", width=64).values[kept]) for b in half_bars(excess))
    for name in ("loss", "variance", "bias", "layers", "signal_to_noise"):
        assert rf"\pm {SHOWN}$ s.e." in _legend(draw(name, tree))


def _legend(figure: Figure) -> str:
    return " ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())


def test_errors_are_drawn_in_one_place() -> None:
    """Predictions alone have a band of something else, the spread of networks, and their legend says so."""
    modules = Path(fwdmft.plotting.__file__).parent.glob("*.py")
    elsewhere = [
        path.name for path in modules if "fill_between(" in path.read_text() or "errorbar(" in path.read_text()
    ]
    assert sorted(elsewhere) == ["errors.py", "predictions.py"]
    assert "spread of networks" in _legend(draw("predictions", stand_ins.tree()))


def test_points_beyond_the_axis_are_marked(tree: xr.DataTree) -> None:
    far = tree.copy(deep=True)
    far["ensemble/prediction_mean"].loc[{"width": 1024}] += 1.0  # errors of the widest networks do not set the axis
    figure = draw("bias", far)
    panel = figure.axes[0]
    (points,) = [line for line in panel.get_lines() if line.get_marker() == "o" and np.max(line.get_ydata()) > 900]
    (marks,) = [one for one in panel.get_lines() if one.get_marker() == "^" and one.get_color() == points.get_color()]
    assert list(marks.get_xdata()) == list(points.get_xdata())
    assert set(marks.get_ydata()) == {panel.get_ylim()[1]} and not marks.get_clip_on()
    assert "beyond the axis" in _legend(figure) and "beyond the axis" not in _legend(draw("variance", far))


def test_negative_estimates_are_not_cut_off(tree: xr.DataTree) -> None:
    negative = tree.copy(deep=True)
    negative["theory/prediction_variance"][:, 0] -= 0.3
    assert draw("variance", negative).axes[0].get_ylim()[0] < -0.2
    assert draw("variance", tree).axes[0].get_ylim()[0] == 0


def test_a_line_through_two_widths_is_no_fit() -> None:
    two = stand_ins.tree(networks=stand_ins.ensemble()[:2])
    for name, panel in (("scaling", 0), ("collapse", 2)):
        colors = [line.get_color() for line in draw(name, two).axes[panel].get_lines()]
        fits = [line.get_color() for line in draw(name, stand_ins.tree()).axes[panel].get_lines()]
        assert "#D55E00" in fits and "#D55E00" not in colors


def test_accuracy_ends_at_one(tree: xr.DataTree) -> None:
    full = tree.copy(deep=True)
    full["ensemble/accuracy_mean"][..., 0] = 0.999
    full["ensemble/accuracy_mean_standard_error"][...] = 0.01
    panel = draw("task", full).axes[1]
    assert panel.get_ylim()[1] == 1
    tops = [segment[:, 1].max() for one in panel.containers for segment in one[2][0].get_segments()]
    assert max(tops) <= 1 + 1e-12


def test_nothing_is_drawn_between_layers(tree: xr.DataTree) -> None:
    panel = draw("layers", tree).axes[0]
    (theory,) = [line for line in panel.get_lines() if line.get_marker() == "_" and line.get_color() == "black"]
    assert theory.get_linestyle() == "None"


def _sweep(values: np.ndarray) -> tuple[xr.DataTree, Line]:
    """Two points along one field that differ in a factor."""
    tree = stand_ins.tree(of=replace(stand_ins.theory(two_time=False), prediction_covariance=None))
    halves = {half: xr.concat([tree[half].to_dataset()] * 2, dim="field") for half in ("theory", "ensemble")}
    whole = xr.DataTree.from_dict({"data": tree["data"].to_dataset(), **halves})
    whole.attrs |= {"sweep_dimensions": ["field"], "title": "sweep", "first_experiment": tree.attrs["experiment"]}
    return whole, Line("field", values, halves["theory"], halves["ensemble"], {})


def test_sweeps_show_the_errors_of_the_theory() -> None:
    tree, line = _sweep(np.array([1.0, 2.0]))
    for name, panels in SWEEP_FIGURES.items():
        figure = panels(tree, line)
        assert figure is not None and r"$\gamma_0$ = 0.75" in figure.get_suptitle()
        assert rf"\pm {SHOWN}$ s.e. of the theory" in _legend(figure), name
    figure = SWEEP_FIGURES["in_time"](tree, line)
    assert figure is not None and line.theory is not None
    first = line.theory.isel(field=0, point=0, output=0)
    upper = (first["prediction_variance"] + 2 * first["prediction_variance_standard_error"]).values
    bands = [band.get_paths()[0].vertices[:, 1] for band in figure.axes[3].collections]
    assert any(np.isclose(edges[:, None], upper).any(axis=0).all() for edges in bands)


def test_nothing_is_drawn_between_words() -> None:
    for values, linestyle in ((np.array(["tanh", "erf"]), "None"), (np.array([1.0, 2.0]), "--")):
        tree, line = _sweep(values)
        figure = SWEEP_FIGURES["at_the_end"](tree, line)
        assert figure is not None and line.theory is not None
        end = line.theory["prediction"].isel(point=0, output=0, time=-1)
        (theory,) = [one for one in figure.axes[0].get_lines() if has_curve_of(one, end)]
        assert theory.get_linestyle() == linestyle


def has_curve_of(line: object, values: xr.DataArray) -> bool:
    drawn = np.asarray(line.get_ydata(), float)  # type: ignore[attr-defined]
    return line.get_color() == "black" and drawn.shape == values.shape and np.allclose(drawn, values)  # type: ignore[attr-defined]
