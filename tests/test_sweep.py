"""Sweeps: the file, the points, what is computed and what is skipped, failures, the combined tree, the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
import yaml
from experiments import GAMMA0, TRAIN, sweep
from typer.testing import CliRunner, Result

import fwdmft
from fwdmft.cli import app
from fwdmft.results.describe import SCHEMA_VERSION

# --- computing ---


@pytest.fixture
def engine(sweeps_here: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put a function of the experiment in the place of the computation."""
    return lambda function: monkeypatch.setitem(vars(fwdmft), "run", lambda one, force: function(one))


def stand_in(one: Any) -> xr.DataTree:
    """A result of few variables that depends on the experiment: f = gamma0 + t at `data.train` points."""
    gamma0, n, steps = one.parameterization.richness(None), one.data.train, one.optimizer.steps
    f = gamma0 + np.arange(steps)[:, None, None] + np.zeros((n, 1))
    theory = xr.Dataset(
        {"prediction": (("time", "point", "output"), f), "loss": (("time", "split"), f[:, :2, 0])},
        {"time": np.arange(steps), "split": ["train", "test"], "point_split": ("point", ["train"] * n)},
    )
    actual = xr.Dataset({"neurons": 7, "device": "cpu"})
    attrs = {
        "experiment": one.model_dump_json(),
        "creation_library": "fwdmft",
        "schema_version": SCHEMA_VERSION,
        "title": one.name,
    }
    root = xr.Dataset(attrs=attrs)
    return xr.DataTree.from_dict({"/": root, "data": xr.Dataset(), "theory": theory, "diagnostics": actual})


def failing_at(gamma0: float) -> Callable[[Any], xr.DataTree]:
    def run(one: Any) -> xr.DataTree:
        if one.parameterization.richness(None) == gamma0:
            raise fwdmft.ComputationError("training diverged at step 3")
        return stand_in(one)

    return run


@pytest.mark.parametrize("jobs", [1, 3])
def test_finished_points_are_skipped(engine: Any, tmp_path: Path, jobs: int) -> None:
    engine(stand_in)
    seen: list[tuple[str, int, int]] = []
    grid = fwdmft.load_sweep(sweep())
    first = fwdmft.run_sweep(grid, tmp_path / "new" / "out", jobs, lambda *each: seen.append(each))
    assert len(first.computed) == 6 and not first.skipped and not first.failed
    assert seen == [("points", done, 6) for done in range(7)]
    (tmp_path / "new" / "out" / "gamma0=1,train=6.nc").unlink()
    again = fwdmft.run_sweep(fwdmft.load_sweep(sweep(description="words do not matter")), tmp_path / "new" / "out")
    assert again.computed == ["gamma0=1,train=6"] and len(again.skipped) == 5


def test_results_of_another_experiment_are_refused(engine: Any, tmp_path: Path) -> None:
    engine(stand_in)
    fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [1]})), tmp_path)
    before = (tmp_path / "sweep.json").read_bytes()
    changed = fwdmft.load_sweep(sweep(base=sweep()["base"] | {"theory": {"seed": 5}}, over={GAMMA0: [1, 3]}))
    with pytest.raises(fwdmft.InputError, match=r"gamma0=1.nc'; expected .* differs in theory.seed. Remove it"):
        fwdmft.run_sweep(changed, tmp_path)
    assert (tmp_path / "sweep.json").read_bytes() == before and not (tmp_path / "gamma0=3.nc").exists()
    (tmp_path / "gamma0=3.nc").write_text("not a result")
    with pytest.raises(fwdmft.InputError, match="a new name, or a result to replace"):
        fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [3]})), tmp_path)


def test_failures_do_not_stop_the_others(engine: Any, tmp_path: Path) -> None:
    engine(failing_at(1))
    outcome = fwdmft.run_sweep(fwdmft.load_sweep(sweep()), tmp_path)
    assert outcome.failed == {f"gamma0=1,train={n}": "training diverged at step 3" for n in (4, 6)}
    assert len(outcome.computed) == 4 and len(list(tmp_path.glob("*.nc"))) == 4
    engine(stand_in)
    assert len(fwdmft.run_sweep(fwdmft.load_sweep(sweep()), tmp_path).computed) == 2


def test_bad_places_and_jobs_are_refused(engine: Any, tmp_path: Path) -> None:
    grid = fwdmft.load_sweep(sweep())
    (tmp_path / "file").write_text("")
    with pytest.raises(fwdmft.InputError, match="output: got .*a directory that can be made"):
        fwdmft.run_sweep(grid, tmp_path / "file")
    with pytest.raises(fwdmft.InputError, match="jobs: got 0"):
        fwdmft.run_sweep(grid, tmp_path, jobs=0)


def test_places_that_cannot_hold_a_result_are_refused(engine: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gamma0=1.nc")
    with pytest.raises(fwdmft.InputError, match="gamma0=1.nc'; expected the name of a file, but this is a pipe"):
        fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [1]})), tmp_path)


# --- the combined tree ---


@pytest.fixture
def combined(engine: Any, tmp_path: Path) -> xr.DataTree:
    engine(failing_at(1))
    fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [0.5, 1, 2], TRAIN: [4, 6]})), tmp_path)
    return fwdmft.open_sweep(tmp_path)


def test_combined_attributes(combined: xr.DataTree) -> None:
    """The sweep's own, and those of a result that are the same for all of its points."""
    first = json.loads(combined.attrs["first_experiment"])
    assert first["parameterization"]["gamma0"] == 0.5 and combined.attrs["sweep_dimensions"] == ["gamma0", "train"]


def test_combined_points(combined: xr.DataTree) -> None:
    f = combined["theory/prediction"]
    assert f.dims == ("gamma0", "train", "time", "point", "output") and f.shape == (3, 2, 10, 6, 1)
    assert f.gamma0.values.tolist() == [0.5, 1, 2] and f.train.values.tolist() == [4, 6]
    for gamma0 in (0.5, 2):
        expected = np.broadcast_to(gamma0 + np.arange(10.0), (6, 10)).T
        np.testing.assert_array_equal(f.sel(gamma0=gamma0, train=6)[..., 0], expected)
        np.testing.assert_array_equal(f.sel(gamma0=gamma0, train=4)[:, :4, 0], expected[:, :4])
        assert np.isnan(f.sel(gamma0=gamma0, train=4)[:, 4:]).all()
    assert np.isnan(f.sel(gamma0=1)).all()
    np.testing.assert_array_equal(combined["diagnostics/neurons"], [[7, 7], [np.nan, np.nan], [7, 7]])
    assert combined["diagnostics/device"].values.tolist() == [["cpu", "cpu"], ["", ""], ["cpu", "cpu"]]
    assert combined["theory/split"].values.tolist() == ["train", "test"]
    assert combined["theory/point_split"].sel(train=4, gamma0=2).values.tolist() == ["train"] * 4 + [""] * 2


def test_parts_are_those_of_the_whole(combined: xr.DataTree) -> None:
    f = combined["theory/prediction"]
    whole = f.values
    assert np.isnan(whole).any() and np.isfinite(whole).any()
    np.testing.assert_array_equal(f[-1, :, ::3, 2:5, 0], whole[-1, :, ::3, 2:5, 0])
    np.testing.assert_array_equal(f[[2, 0], 1][:, [4, 1]], whole[[2, 0], 1][:, [4, 1]])
    np.testing.assert_array_equal(f.isel(time=slice(None, None, -4), point=[5, 0]), whole[:, :, ::-4, [5, 0]])
    assert f[:, :, 3:3].shape == (3, 2, 0, 6, 1)


def test_only_what_is_asked_for_is_read(combined: xr.DataTree, tmp_path: Path) -> None:
    f = combined["theory/prediction"].isel(gamma0=2, train=1)
    for path in tmp_path.glob("*.nc"):
        if path.name != "gamma0=2,train=6.nc":
            path.unlink()
    assert f.values[3, 0, 0] == 5
    with pytest.raises(OSError, match="gamma0=0.5"):
        combined["theory/prediction"].load()


def test_points_of_different_steps_are_joined_by_time(engine: Any, tmp_path: Path) -> None:
    engine(stand_in)
    group = {"optimizer.steps": [3, 5], "theory.neurons": [16, 32]}
    fwdmft.run_sweep(fwdmft.load_sweep(sweep(over=None, together=[group])), tmp_path)
    tree = fwdmft.open_sweep(tmp_path)
    f = tree["theory/prediction"]
    assert f.time.values.tolist() == [0, 1, 2, 3, 4] and f.dims[0] == "steps"
    assert np.isnan(f.sel(steps=3)[3:]).all() and np.isfinite(f.sel(steps=5)).all()
    # a diagnostic is called neurons, so the field keeps its whole name
    assert tree["theory.neurons"].dims == ("steps",) and tree["theory.neurons"].values.tolist() == [16, 32]


def test_variables_of_different_dimensions_are_left_out_and_named(engine: Any, tmp_path: Path) -> None:
    def run(one: Any) -> xr.DataTree:
        tree = stand_in(one)
        dims = ("point", "height", "width") if one.data.train == 6 else ("point", "feature")
        tree["data"] = xr.DataTree(xr.Dataset({"x": (dims, np.ones((2,) * len(dims))), "y": ("point", np.ones(2))}))
        return tree

    engine(run)
    fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={TRAIN: [4, 6]})), tmp_path)
    data = fwdmft.open_sweep(tmp_path)["data"]
    assert data.attrs["left_out"] == ["x"] and list(data.data_vars) == ["y"]


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "3",
        '{"name": "a"}',
        {"axes": 3},
        {"axes": [3]},
        {"axes": [{"a": 3}]},
        {"axes": [{"a": [{}]}]},
        {"axes": [{}]},
        {"axes": [{"a": []}]},
        {"axes": [{"a": [1, 2], "b": [1]}]},
        {"files": "a.nc"},
        {"files": [3]},
        {"files": ["a.nc", "b.nc"]},
        {"files": ["../a.nc"]},
        {"name": 3},
    ],
)
def test_records_of_another_form_are_refused(tmp_path: Path, record: Any) -> None:
    whole = {"name": "", "description": "", "axes": [{"a": [1]}], "files": ["a.nc"]}
    (tmp_path / "sweep.json").write_text(record if isinstance(record, str) else json.dumps(whole | record))
    with pytest.raises(fwdmft.InputError, match="sweep: got .*a directory written by `fwdmft sweep`"):
        fwdmft.open_sweep(tmp_path)


def test_damaged_results_are_refused(engine: Any, tmp_path: Path) -> None:
    engine(stand_in)
    grid = fwdmft.load_sweep(sweep(over={GAMMA0: [1, 2]}))
    fwdmft.run_sweep(grid, tmp_path)
    path = tmp_path / "gamma0=2.nc"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    for use in (lambda: fwdmft.open_sweep(tmp_path), lambda: fwdmft.run_sweep(grid, tmp_path)):
        with pytest.raises(fwdmft.InputError, match="gamma0=2.nc'; expected the file as fwdmft wrote it"):
            use()


def test_places_that_are_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(fwdmft.InputError, match="sweep: got .*a directory written by `fwdmft sweep`"):
        fwdmft.open_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text(
        json.dumps({"name": "", "description": "", "axes": [{"a": [1]}], "files": ["a.nc"]})
    )
    with pytest.raises(fwdmft.InputError, match="at least one finished point"):
        fwdmft.open_sweep(tmp_path)
    (tmp_path / "a.nc").write_text("not netCDF")
    with pytest.raises(fwdmft.InputError, match=r"a.nc'; expected a readable netCDF file"):
        fwdmft.open_sweep(tmp_path)


# --- agreement and the command ---


def comparable(one: Any) -> xr.DataTree:
    """A whole result of stand-ins, in which networks are off by 10 standard deviations at gamma0 = 2."""
    theory = replace(stand_ins.theory(two_time=False), prediction_covariance=None)
    networks = stand_ins.ensemble(shift=10.0 * (one.parameterization.richness(None) == 2))
    tree = stand_ins.tree(of=theory, networks=networks)
    tree.attrs["experiment"] = one.model_dump_json()
    return tree


def test_agreement_of_each_point(engine: Any, tmp_path: Path) -> None:
    engine(comparable)
    fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [1, 2]})), tmp_path)
    numbers = fwdmft.agreement(fwdmft.open_sweep(tmp_path))
    alone = fwdmft.agreement(fwdmft.open_result(tmp_path / "gamma0=2.nc"))
    xr.testing.assert_equal(numbers.sel(gamma0=2, drop=True), alone)
    assert (numbers["mean_rms"].sel(gamma0=2) > 5 * numbers["mean_rms"].sel(gamma0=1)).all()
    shown, table = call("show", tmp_path, "--agreement", "-o", tmp_path / "a.csv"), tmp_path / "a.csv"
    assert shown.exit_code == 0, shown.stderr
    rows = table.read_text().splitlines()
    assert rows[0].startswith("gamma0,quantity,width,observable,entries,rms,") and len(rows) == 1 + 2 * (12 + 12 + 4)
    assert f"{numbers['mean_rms'].sel(gamma0=2, width=64, variable='prediction').item():.2f}" in shown.stdout
    (tmp_path / "gamma0=1.nc").unlink()
    absent = fwdmft.agreement(fwdmft.open_sweep(tmp_path)).sel(gamma0=1)
    assert (absent["mean_entries"] == 0).all() and np.isnan(absent["mean_rms"]).all()
    loss = fwdmft.open_result(tmp_path / "gamma0=2.nc")["theory/loss"][-1, 1].item()
    assert f"{loss:.4g}" in shown.stdout


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command(engine: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "sweep.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(sweep(), sort_keys=False))
    engine(failing_at(2))
    result = call("sweep", file, "-o", out, "--jobs", 2)
    assert result.exit_code == 1
    assert result.stdout.strip() == "4 points computed, 0 there already, 2 failed"
    assert "gamma0=2,train=6" in result.stderr and "training diverged at step 3" in result.stderr
    engine(stand_in)
    result = call("sweep", file, "-o", out)
    assert (result.exit_code, result.stdout.strip()) == (0, "2 points computed, 4 there already, 0 failed")
    shown = call("show", out)
    assert shown.exit_code == 0 and "infinite width" in shown.stdout and "mean rms" not in shown.stdout
    file.write_text(yaml.safe_dump(sweep(over={TRAIN: [0, 4]})))
    result = call("sweep", file, "-o", out)
    assert result.exit_code == 2 and result.stderr.strip().startswith("point train=0: data.train: got 0; expected")


def test_sweeps_are_validated(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep()))
    assert call("validate", file).stdout.strip() == f"{file} is valid: grid, 6 points of a sweep"
    file.write_text(yaml.safe_dump(sweep(over={TRAIN: [4, 0]})))
    result = call("validate", file)
    assert result.exit_code == 2 and result.stderr.startswith("point train=0: data.train: got 0; expected")
