"""Two results compared: with known differences, points in another order, and controls that must fail."""

from __future__ import annotations

import json
from pathlib import Path

import foreign_results as foreign
import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.results.judging import Judged, compare
from fwdmft.results.write import write_result


@pytest.fixture(scope="module")
def result() -> xr.DataTree:
    return stand_ins.tree()


def named(rows: Judged, quantity: str, observable: str, width: object) -> dict[str, float]:
    (actual,) = (
        row for row in rows.rows if (row["quantity"], row["observable"], row["width"]) == (quantity, observable, width)
    )
    return actual


def exact(tree: xr.DataTree, offset: float) -> xr.DataTree:
    """With predictions that fluctuate on neither side at the first time, and differ there by an offset."""
    fixed = tree.copy(deep=True)
    theory, ensemble = (fixed[name].to_dataset() for name in ("theory", "ensemble"))
    first = {"time": 0}
    for one, name in ((theory, "prediction"), (theory, "prediction_bias"), (ensemble, "prediction_mean")):
        one[f"{name}_standard_error"][first] = 0.0
    theory["prediction_bias"][first] = 0.0
    ensemble["prediction_mean"][first] = theory["prediction"].isel(first) + offset
    fixed["theory"], fixed["ensemble"] = xr.DataTree(theory), xr.DataTree(ensemble)
    return fixed


def test_entries_without_errors_count_where_they_differ(result: xr.DataTree) -> None:
    """Not by the rounding of float32."""
    scored = [fwdmft.agreement(exact(result, offset)).sel(variable="prediction") for offset in (0.0, 1e-8, 0.1)]
    entries = [int(one["mean_entries"][0]) for one in scored]
    every, first = (result["theory/prediction"].isel(time=times).size for times in (slice(None), 0))
    assert entries == [every - first, every - first, every] and scored[2]["mean_max"][0] > 1e4


def by_sides(one: xr.DataTree, other: xr.DataTree) -> dict[tuple[str, str], Judged]:
    return {(each.first, each.second): each for each in compare({"a": one, "b": other}).judged}


def shifted(tree: xr.DataTree, group: str, name: str, errors: float) -> xr.DataTree:
    """With one variable moved by so many of its standard errors."""
    moved = tree.copy(deep=True)
    half = moved[group].to_dataset()
    half[name] = half[name] + errors * half[f"{name}_standard_error"]
    moved[group] = xr.DataTree(half)
    return moved


def test_differences_are_in_standard_errors_of_both(result: xr.DataTree) -> None:
    """Both sides have the same errors: a difference of 3 of one is 3 / sqrt(2) of both."""
    actual = by_sides(result, shifted(result, "theory", "prediction_bias", 3.0))
    rows = actual["theory of a", "theory of b"]
    assert named(rows, "bias", "prediction", "")["rms"] == pytest.approx(3 / np.sqrt(2))
    assert named(rows, "bias", "prediction", "")["max"] == pytest.approx(3 / np.sqrt(2))
    assert named(rows, "variance", "prediction", "")["rms"] == 0
    assert named(rows, "loss", "loss", "")["rms"] == 0
    actual = by_sides(result, shifted(result, "ensemble", "tangent_kernel_variance", 2.0))
    rows = actual["ensemble of a", "ensemble of b"]
    for width in stand_ins.WIDTHS:
        assert named(rows, "variance", "tangent_kernel", width)["rms"] == pytest.approx(np.sqrt(2))
        assert named(rows, "mean", "tangent_kernel", width)["rms"] == 0
    assert named(rows, "bias", "tangent_kernel", "all")["rms"] == 0


def test_theory_of_one_against_the_ensemble_of_the_other(result: xr.DataTree) -> None:
    """The ensemble is drawn from the theory with its errors; the sides of a single result say the same."""
    actual = by_sides(result, result)
    assert set(actual) == {
        ("theory of a", "theory of b"),
        ("ensemble of a", "ensemble of b"),
        ("theory of a", "ensemble of b"),
        ("theory of b", "ensemble of a"),
    }
    rows, scores = actual["theory of a", "ensemble of b"], fwdmft.agreement(result)
    for name in ("prediction", "feature_kernel"):
        for width in stand_ins.WIDTHS:
            expected = scores.sel(variable=name, width=width)
            row = named(rows, "mean", name, width)
            assert row["rms"] == expected["mean_rms"].item() and row["max"] == expected["mean_max"].item()
            assert row["rms"] < 1.5 < 10 < row["control"]
    assert rows.rows == actual["theory of b", "ensemble of a"].rows


def test_points_are_paired_by_their_inputs(result: xr.DataTree) -> None:
    order = np.array([3, 0, 5, 1])
    groups = {
        name: child.to_dataset().drop_vars(("split", "point_split"), errors="ignore").isel(point=order)
        for name, child in result.children.items()
        if name in ("data", "theory")
    }
    groups["data"]["split"] = result["data/split"].variable[order]
    primed = {"point_prime": order}
    groups["theory"] = groups["theory"].drop_dims("time_prime").isel(primed).isel(time=[2, 7])
    some = xr.DataTree.from_dict({"/": xr.Dataset(attrs=result.attrs), **groups})
    actual = compare({"a": result, "b": some})
    assert actual.points == (4, 6, 4) and not actual.differ
    assert [(one.first, one.second) for one in actual.judged] == [
        ("theory of a", "theory of b"),
        ("theory of b", "ensemble of a"),
    ]
    same, rows = actual.judged
    assert same.times == 2 and all(row["rms"] == 0 for row in same.rows)
    assert not any(row["quantity"] == "loss" for row in (*same.rows, *rows.rows)), "losses are of all points"
    assert all(row["rms"] < 2 for row in rows.rows)


def test_a_control_without_contrast_is_called_blind(tmp_path: Path) -> None:
    """N Var is 1 everywhere: shuffled it is the same."""
    actual = foreign.groups()
    error = foreign.variable(("time", "point", "output"), np.full((2, 3, 1), 0.1), units="count")
    actual["theory"] = actual["theory"].assign(prediction_variance_standard_error=error)
    paths = [str(foreign.write(tmp_path / name, actual)) for name in ("a.nc", "b.nc")]
    done = CliRunner().invoke(app, ["compare", *paths], env={"COLUMNS": "300"})
    assert done.exit_code == 0 and "experiments are the same" in done.stdout, done.output
    blind = [line for line in done.stdout.splitlines() if "0.0, blind" in line]
    assert len(blind) == 1 and "N Var" in blind[0]


def test_a_theory_of_another_program(result: xr.DataTree, tmp_path: Path) -> None:
    """It has no b: the mean is compared without, and says so."""
    data = result["data"].to_dataset().drop_vars("split")
    split = {"split": foreign.variable(("point",), result["data"]["split"].values)}
    f, times = ("time", "point", "output"), [0, 10]
    ours = result["theory"].to_dataset().sel(time=times)
    theory = {
        name: foreign.variable(f, ours[name].values, units=ours[name].units)
        for name in ("prediction", "prediction_standard_error", "prediction_variance")
    }
    labels = {"time": foreign.variable(("time",), times)}
    theirs = {"data": data.assign_coords(split), "theory": xr.Dataset(theory, labels)}
    paths = write_result(result, tmp_path / "ours.nc"), foreign.write(tmp_path / "theirs.nc", theirs)
    done = CliRunner().invoke(app, ["compare", *map(str, paths), "--json"])
    assert done.exit_code == 0, done.output
    actual = json.loads(done.stdout)
    assert actual["differ"]["parameterization.gamma0"] == [0.75, 0.5] and actual["points"]["shared"] == 6
    last = actual["comparisons"][-1]
    assert last["first"] == f"theory of {paths[1]}" and last["second"] == f"ensemble of {paths[0]}"
    assert {(row["quantity"], row["observable"]) for row in last["rows"]} == {
        ("mean without b", "prediction"),
        ("variance", "prediction"),
    }


def test_sides_that_may_not_be_independent_are_named(result: xr.DataTree) -> None:
    seeded = [result.copy(deep=True) for _ in range(2)]
    for tree, seed in zip(seeded, (3, 4), strict=True):
        tree.attrs["experiment"] = json.dumps({"theory": {"seed": 7}, "ensemble": {"seed": seed}})
    a, b = seeded
    small = "Scores of one against the other are too small then."
    theories = f"Both theories have the seed 7: their errors are not independent. {small}"
    assert compare({"a": a, "b": b}).notes == [theories]
    assert compare({"a": a, "b": a}).notes == [
        theories,
        *(
            f"Both ensembles have width {width} with the seed 3: their networks may be the same. {small}"
            for width in stand_ins.WIDTHS
        ),
    ]
    assert compare({"a": result, "b": result}).notes == []


def test_other_problems_are_reported(result: xr.DataTree) -> None:
    """Targets, or points that are trained on: shared ones, and ones that the other result lacks."""

    def notes(**changes: object) -> list[str]:
        other = result.copy(deep=True)
        other["data"] = xr.DataTree(other["data"].to_dataset().drop_vars("split").assign(changes))
        return compare({"a": result, "b": other}).notes

    split = result["data/split"].reset_coords(drop=True).variable
    assert notes(split=split) == []
    swapped = split.copy(data=np.roll(split.values, 1))
    training = "Training points differ: scores are of two different problems."
    assert notes(split=swapped) == [training]
    targets = "Targets y of shared points differ: scores are of two different problems."
    assert notes(split=split, y=2 * result["data/y"].variable) == [targets]
    x = result["data/x"].variable.copy()
    x[int(np.flatnonzero(split.values == "train")[0])] += 1
    assert notes(split=split, x=x) == [training]


def test_results_that_share_nothing_are_refused(result: xr.DataTree) -> None:
    elsewhere, later = result.copy(deep=True), result.copy(deep=True)
    elsewhere["data"] = xr.DataTree(result["data"].to_dataset().assign(x=result["data/x"] + 1))
    with pytest.raises(
        fwdmft.InputError, match="results that share points; no input x of one is an input of the other"
    ):
        compare({"a": result, "b": elsewhere})
    for half in ("theory", "ensemble"):
        group = result[half].to_dataset().drop_dims("time_prime", errors="ignore")
        later[half] = xr.DataTree(group.assign_coords(time=group["time"] + 1000))
    with pytest.raises(fwdmft.InputError, match="share times and .*; theory of a and theory of b share no times"):
        compare({"a": result, "b": later})
