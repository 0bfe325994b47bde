"""Merging ensembles: equal to one ensemble of all members, to rounding, and refused where that would be nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from example_plugins import installed
from experiments import experiment
from test_result_format import unpublished
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.errors import InputError
from fwdmft.merging import merge
from fwdmft.networks import ensemble as ensembles
from fwdmft.networks.tally import Tally
from fwdmft.networks.task_statistics import grouped
from fwdmft.observables import METRICS, OBSERVABLES
from fwdmft.preparing import prepare
from fwdmft.results import open_result, write_result
from fwdmft.results.build import ensemble_group
from fwdmft.results.write import validate_result

WIDTH, MEMBERS, SAMPLES = 6, {3: 21, 7: 18}, 25


def spec(seed: int, members: int, **ensemble: object) -> dict[str, object]:
    half = {"widths": [WIDTH], "members": members, "seed": seed, "samples": SAMPLES, "save_every": 2, **ensemble}
    steps = {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 4}
    return experiment(theory=None, optimizer=steps, ensemble=half)


def results(home: Path, **ensemble: object) -> dict[str, xr.DataTree]:
    """By file, as they are read back."""
    actual = {}
    for seed, members in MEMBERS.items():
        loaded = fwdmft.load_experiment(spec(seed, members, **ensemble))
        path = write_result(fwdmft.run(loaded), home / f"seed_{seed}.nc")
        actual[str(path)] = open_result(path)
    return actual


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.DataTree]:
    return results(tmp_path_factory.mktemp("merging"))


def at_once(tree: xr.DataTree) -> xr.Dataset:
    """The ensemble of all members, tallied one after the other as in a single run."""
    prepared = prepare(fwdmft.load_experiment(json.loads(tree.attrs["experiment"])))
    task, total = prepared.ensemble, sum(MEMBERS.values())
    assert task is not None
    tally = Tally(ensembles.chunk_size(task, WIDTH, total), total, SAMPLES)
    for seed, members in MEMBERS.items():
        begun = Tally(ensembles.chunk_size(task, WIDTH, members), members, SAMPLES)
        for seen in ensembles._chunks(task, WIDTH, members, seed, begun):
            tally.add(seen, grouped(task, seen))
    one = ensembles.statistics_of(task, tally, WIDTH)
    return ensemble_group([one], OBSERVABLES | METRICS, prepared.dataset)


@pytest.mark.parametrize("kernel_points", [None, 2])
def test_merged_is_the_ensemble_run_at_once(
    kernel_points: int | None, parts: dict[str, xr.DataTree], tmp_path: Path
) -> None:
    """21 members do not fill the 16 groups evenly: those of the second begin with the sixth group."""
    parts = parts if kernel_points is None else results(tmp_path, kernel_points=kernel_points)
    merged, whole = merge(parts)["ensemble"].to_dataset(), at_once(next(iter(parts.values())))
    assert set(merged.variables) == set(whole.variables)
    for name, expected in whole.drop_vars("seconds").variables.items():
        actual = merged[name]
        assert actual.dims == expected.dims and actual.attrs == expected.attrs, name
        if expected.dtype.kind in "US":
            np.testing.assert_array_equal(actual.values, expected.values)
            continue
        size = np.nanmax(abs(expected.values), initial=0.0)
        # Errors are square roots of differences, which keep half of the digits where these vanish.
        np.testing.assert_allclose(actual.values, expected.values, rtol=2e-8, atol=2e-8 * size, err_msg=str(name))


def test_merged_says_what_it_is_from_and_is_merged_again(parts: dict[str, xr.DataTree], tmp_path: Path) -> None:
    merged = merge(parts)
    assert json.loads(merged.attrs["merged_ensembles"]) == [
        {"seed": seed, "widths": [WIDTH], "members": [members]} for seed, members in MEMBERS.items()
    ]
    assert json.loads(merged.attrs["experiment"])["ensemble"]["members"] == [sum(MEMBERS.values())]
    both = validate_result(write_result(merged, tmp_path / "both.nc"))
    assert unpublished(both) == []
    again, part = next(iter(parts.items()))
    with pytest.raises(InputError, match="other seeds or widths than both, which has networks of width 6"):
        merge({"both": both, again: part})
    wider = part.copy(deep=True)
    wider["ensemble"] = xr.DataTree(part["ensemble"].to_dataset().assign_coords(width=[2 * WIDTH]))
    assert merge({"both": both, "wider": wider})["ensemble/members"].values.tolist() == [39, 21]


def test_observables_of_plugins_are_merged(tmp_path: Path) -> None:
    """With the plugin; without it, the message names it."""
    with installed(tmp_path, "participation_ratio"):
        trained = {}
        for seed, members in MEMBERS.items():
            asked = spec(seed, members) | {"observables": ["participation_ratio"]}
            trained[str(seed)] = fwdmft.run(fwdmft.load_experiment(asked))
        merged = merge(trained)
    alone = [tree["ensemble/participation_ratio_mean"].values for tree in trained.values()]
    expected = np.average(alone, axis=0, weights=list(MEMBERS.values()))
    np.testing.assert_allclose(merged["ensemble/participation_ratio_mean"].values, expected)
    first = next(iter(trained.values()))["ensemble/participation_ratio_mean"]
    assert merged["ensemble/participation_ratio_mean"].attrs == first.attrs
    with pytest.raises(InputError, match="^experiment.observable: got 'participation_ratio'; expected an installed"):
        merge(trained)


def test_other_experiments_are_not_merged(parts: dict[str, xr.DataTree]) -> None:
    (first, one), (second, other) = parts.items()

    def refused(change: tuple[str, str, object], **attributes: str) -> str:
        section, field, value = change
        altered, values = other.copy(deep=True), json.loads(other.attrs["experiment"])
        values[section][field] = value
        altered.attrs |= {"experiment": json.dumps(values), **attributes}
        with pytest.raises(InputError) as refusal:
            merge({"a.nc": one, "b.nc": altered})
        return str(refusal.value)

    assert refused(("optimizer", "learning_rate", 0.1)) == (
        "b.nc: optimizer.learning_rate: got 0.1; expected 0.05 as in a.nc: one experiment"
    )
    assert refused(("ensemble", "precision", "float64")).startswith("b.nc: ensemble.precision: got 'float64'")
    assert refused(("ensemble", "seed", 3)).startswith("b.nc: ensemble.seed: got 3; expected other seeds or widths")
    plugins = json.loads(one.attrs["plugins"])
    swish = json.dumps(plugins | {"activation tanh": ["swish", "0.2.0"]})
    assert refused(("ensemble", "seed", 7), plugins=swish) == (
        f"b.nc: plugins.activation tanh: got ['swish', '0.2.0']; expected {plugins['activation tanh']} as in a.nc"
    )
    theirs = refused(("ensemble", "seed", 7), creation_library="theirs")
    assert theirs.startswith("results: got 'b.nc'; expected a result written by fwdmft")
    moved = other.copy(deep=True)
    moved["data/x"] = moved["data/x"] + 1
    with pytest.raises(InputError, match="b.nc: data: got 'x'; expected the same points as in a.nc"):
        merge({"a.nc": one, "b.nc": moved})
    later = other.copy(deep=True)
    group = other["ensemble"].to_dataset()
    later["ensemble"] = xr.DataTree(group.assign_coords(time=group["time"] + 1))
    with pytest.raises(InputError, match=r"b.nc: ensemble/time: got \[1, 3, 4\]; expected \[0, 2, 3\] as in a.nc"):
        merge({"a.nc": one, "b.nc": later})
    fewer = other.copy(deep=True)
    fewer["ensemble"] = xr.DataTree(group.drop_vars([str(name) for name in group if str(name).startswith("accuracy")]))
    with pytest.raises(InputError, match="got 'b.nc'; expected a result with the variable ensemble/accuracy_"):
        merge({"a.nc": one, "b.nc": fewer})
    older = {name: tree.copy(deep=True) for name, tree in (("a.nc", one), ("b.nc", other))}  # of version 2.0
    for tree in older.values():
        group = tree["ensemble"].to_dataset()
        added = [name for name in group if str(name).endswith(("third_moment", "_group_sum", "group_members"))]
        tree["ensemble"] = xr.DataTree(group.drop_vars(added))
    with pytest.raises(InputError, match="results: got 'a.nc'; expected a result with third moments"):
        merge(older)


def test_command(parts: dict[str, xr.DataTree], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["merge", *parts, "-o", str(tmp_path / "all.nc")])
    assert done.exit_code == 0 and "39 networks" in done.stdout, done.output
    first = next(iter(parts))
    again = CliRunner().invoke(app, ["merge", first, first, "-o", str(tmp_path / "no.nc")])
    assert again.exit_code == 2 and "each file once" in again.stderr and not (tmp_path / "no.nc").exists()
    before = Path(first).read_bytes()
    over = CliRunner().invoke(app, ["merge", *parts, "-o", first])
    assert over.exit_code == 2 and "expected a name that none of the merged results has" in over.stderr
    assert Path(first).read_bytes() == before
