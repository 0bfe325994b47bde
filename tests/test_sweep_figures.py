"""Figures of a sweep: which there are, and that their lines and points are the data of the points swept over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from figure_checks import has_curve
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.plotting import FIGURES, SWEEP_FIGURES
from fwdmft.plotting.heading import heading
from fwdmft.plotting.sweep_panels import lines
from fwdmft.results import write_result
from fwdmft.sweeping.manifest import Manifest, write_manifest

AXES: list = [{"parameterization.gamma0": [0.5, 4.0]}, {"architecture.activation": ["tanh", "erf"]}]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 2 x 2 points, each a whole result; means grow with the first field. The last point is missing."""
    home = tmp_path_factory.mktemp("sweep")
    files = [f"{first}{second}.nc" for first in range(2) for second in range(2)]
    for place, file in enumerate(files[:-1]):
        truth = stand_ins.theory(two_time=False)
        mean = {name: (1 + place // 2) * value for name, value in truth.mean.items()}
        theory = replace(truth, mean=mean, prediction_covariance=None)
        write_result(stand_ins.tree(of=theory), home / file)
    write_manifest(Manifest("grid", "", AXES, files), home)
    return home


def test_the_command_draws_each_field(directory: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plot", str(directory), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    wanted = {f"{field}_{name}.png" for field in ("gamma0", "activation") for name in SWEEP_FIGURES}
    assert {path.name for path in tmp_path.iterdir()} == wanted


def test_curves_in_time_are_the_data(directory: Path) -> None:
    tree = fwdmft.open_sweep(directory)
    figure = SWEEP_FIGURES["in_time"](tree, next(lines(tree)))
    assert figure is not None
    theory, ensemble = (tree[half].to_dataset().isel(activation=0) for half in ("theory", "ensemble"))
    first = {"point": 0, "output": 0}
    widest = ensemble.isel(width=-1)
    for gamma0 in (0, 1):
        assert has_curve(figure.axes[0], theory["prediction"].isel({**first, "gamma0": gamma0}))
        assert has_curve(figure.axes[0], widest["prediction_mean"].isel({**first, "gamma0": gamma0}))
        variance = widest["prediction_variance"].isel({**first, "gamma0": gamma0}) * int(widest.width)
        assert has_curve(figure.axes[3], variance)
    assert figure.get_suptitle().endswith("activation = tanh") and "Var" in figure.axes[3].get_ylabel()


def test_values_at_the_end_are_the_data(directory: Path) -> None:
    tree = fwdmft.open_sweep(directory)
    figure = SWEEP_FIGURES["at_the_end"](tree, next(lines(tree)))
    assert figure is not None
    end = tree["theory/prediction"].isel(activation=0, time=-1, point=0, output=0)
    assert has_curve(figure.axes[0], end)
    assert figure.axes[0].get_xscale() == "log" and "gamma" in figure.axes[0].get_xlabel()


def test_words_stand_side_by_side_and_missing_points_are_left_out(directory: Path) -> None:
    tree = fwdmft.open_sweep(directory).isel(gamma0=[1])
    line = next(one for one in lines(tree))
    assert line.dim == "activation" and dict(line.others) == {"gamma0": 4.0}
    figure = SWEEP_FIGURES["at_the_end"](tree, line)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["tanh", "erf"]
    assert np.isnan(figure.axes[0].get_lines()[-1].get_ydata()).tolist() == [False, True]


def test_theory_alone_takes_the_colours(directory: Path) -> None:
    tree = fwdmft.open_sweep(directory)
    alone = xr.DataTree.from_dict({"/": tree.to_dataset(), "data": tree["data"], "theory": tree["theory"]})
    figure = SWEEP_FIGURES["in_time"](alone, next(lines(alone)))
    assert figure is not None
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) == 2


def test_a_point_that_was_chosen_is_a_result(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figures and the page of one, which state its own fields, not those of the first point."""
    tree = fwdmft.open_sweep(directory)
    one = tree.sel(gamma0=4.0, activation="tanh")
    monkeypatch.setattr("fwdmft.plotting.FIGURES", {"loss": FIGURES["loss"]})
    assert [path.stem for path in fwdmft.plot(one, tmp_path)] == ["loss"]
    assert r"$\gamma_0$ = 4 · " in heading(one, "")
    page = fwdmft.report(one, tmp_path / "one.html").read_text(encoding="utf-8")
    assert "<li>γ₀ = 4</li>" in page and fwdmft.agreement(one).sizes.keys() == {"width", "variable"}
    assert [line.dim for line in lines(tree.sel(gamma0=4.0))] == ["activation"]
