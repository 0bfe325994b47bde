"""The published format of results: what is written is in it, and files of other programs are held to it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

import foreign_results as foreign
import numpy as np
import pytest
import result_stand_ins as stand_ins
import xarray as xr
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.plotting import FIGURES
from fwdmft.reporting.page import page
from fwdmft.results.layout import result_schema, rows
from fwdmft.results.validation import header
from fwdmft.results.variables import AXES
from fwdmft.results.write import open_result, validate_result, write_result

Groups = dict[str, xr.Dataset]


def unpublished(tree: xr.DataTree) -> list[str]:
    """Variables that are not in the tables of the format, or are not what those say."""
    published, actual = rows(), []
    for group, child in tree.children.items():
        for name, variable in child.to_dataset().variables.items():
            said = _with_axes(variable.dims, name), variable.attrs["long_name"], variable.attrs["units"]
            forms = published[group].get(str(name), ())
            if group != "diagnostics" and said not in [(entry.dims, entry.words, entry.units) for entry in forms]:
                actual.append(f"{group}/{name}")
    return actual


def _with_axes(dims: tuple[Hashable, ...], name: Hashable) -> tuple[Hashable, ...]:
    """The axes of one point, which architectures name, as the tables have them."""
    return {"x": ("point", AXES), "x_mean": (AXES,)}.get(str(name), dims)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(result_schema())


@pytest.mark.parametrize("images", [False, True], ids=["rows", "images"])
def test_what_is_written_is_published(outputs: int, images: bool, tmp_path: Path) -> None:
    tree = stand_ins.tree(outputs, images)
    path = write_result(tree, tmp_path / "result.nc")
    assert unpublished(tree) == []
    Draft202012Validator(result_schema()).validate(header(path))
    validate_result(path)


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    path = foreign.write(tmp_path / "theirs.nc", foreign.groups())
    assert validate_result(path)["theory/their_own"].values.tolist() == [0, 1]
    assert open_result(path)["data"].to_dataset().sel(split="train").sizes["point"] == 2
    done = CliRunner().invoke(app, ["validate", str(path)])
    assert done.exit_code == 0 and done.stdout.endswith("written by theirs: theory\n"), done.output


@pytest.mark.parametrize("axes", [("feature",), ("height", "width", "channel"), ("step", "feature"), ("site",)])
def test_x_has_the_axes_of_an_architecture(axes: tuple[str, ...], tmp_path: Path) -> None:
    """Installed or not: what they are called is for the architecture to say."""
    actual = foreign.groups()
    actual["data"]["x"] = foreign.variable(("point", *axes), np.ones((3, *[2] * len(axes))))
    validate_result(foreign.write(tmp_path / "theirs.nc", actual))


def without(group: str, name: str) -> Callable[[Groups], None]:
    def change(actual: Groups) -> None:
        actual[group] = actual[group].drop_vars(name)

    return change


def replaced(group: str, name: str, values: object) -> Callable[[Groups], None]:
    def change(actual: Groups) -> None:
        actual[group] = actual[group].assign({name: values})

    return change


F = ("time", "point", "output")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda actual: actual.pop("theory"), "groups: got ['data']; expected a group theory or ensemble (or both)"),
        (without("data", "y"), "data/y: got nothing; expected a variable: targets"),
        (
            replaced("data", "x", foreign.variable(("feature", "point"), np.ones((2, 3)))),
            "data/x.dimensions.0: got 'feature'; expected 'point'",
        ),
        (
            replaced("data", "x", foreign.variable(("point",), np.ones(3))),
            "data/x.dimensions: got ['point']; expected 2 dimensions or more",
        ),
        (
            replaced("theory", "prediction", foreign.variable(("point", "time", "output"), np.ones((3, 2, 1)))),
            "theory/prediction.dimensions: got ['point', 'time', 'output']; expected ['time', 'point', 'output']",
        ),
        (
            replaced("theory", "prediction_variance", foreign.variable(F, np.ones((2, 3, 1)), units="m")),
            "theory/prediction_variance.units: got 'm'; expected 'count'",
        ),
        (
            replaced("theory", "own", ("time", [1.0, 2.0], {"units": "1"})),
            "theory/own.long_name: got nothing; expected text",
        ),
        (
            replaced("theory", "prediction", foreign.variable(F, np.ones((2, 3, 1), int))),
            "theory/prediction.type: got 'int64'; expected one of float64, float32",
        ),
        (
            replaced("theory", "prediction", foreign.variable(F, np.full((2, 3, 1), np.nan))),
            "theory/prediction: got nan; expected numbers, or an attribute missing_reason that says why there are none",
        ),
        (
            replaced("theory", "prediction_standard_error", foreign.variable(F, np.full((2, 3, 1), -1.0))),
            "theory/prediction_standard_error: got -1.0; expected standard errors, which are not negative",
        ),
        (
            replaced("theory", "time", foreign.variable(("time",), [5, 0])),
            "theory/time: got [5, 0]; expected steps in increasing order",
        ),
        (
            replaced("data", "split", foreign.variable(("point",), ["train", "valid", "test"])),
            "data/split: got ['test', 'train', 'valid']; expected train or test of every point",
        ),
    ],
)
def test_what_does_not_conform_is_refused(change: Callable[[Groups], None], message: str, tmp_path: Path) -> None:
    actual = foreign.groups()
    change(actual)
    path = foreign.write(tmp_path / "theirs.nc", actual)
    done = CliRunner().invoke(app, ["validate", str(path)])
    assert (done.exit_code, done.stderr) == (2, f"{message}\n")
    with pytest.raises(fwdmft.InputError):
        open_result(path)


def test_sizes_agree_between_groups(tmp_path: Path) -> None:
    actual = foreign.groups()
    actual["theory"] = actual["theory"].isel(point=[0, 1])
    with pytest.raises(fwdmft.InputError, match="theory.point: got 2; expected 3, the size of point in the group data"):
        open_result(foreign.write(tmp_path / "theirs.nc", actual))


def test_attributes_of_the_root(tmp_path: Path) -> None:
    path = foreign.write(tmp_path / "theirs.nc", foreign.groups(), experiment="[1]")
    with pytest.raises(fwdmft.InputError, match=r"experiment: got '\[1\]'; expected a mapping as JSON"):
        open_result(path)


def test_sections_of_the_experiment_are_mappings(tmp_path: Path) -> None:
    text = '{"architecture": "mlp", "ensemble": null, "optimizer": {"schedule": "cosine", "learning_rate": 1}}'
    with pytest.raises(fwdmft.InputError, match="^experiment.architecture: got 'mlp'; expected a mapping of fields"):
        open_result(foreign.write(tmp_path / "theirs.nc", foreign.groups(), experiment=text))
    known = foreign.write(tmp_path / "theirs.nc", foreign.groups(), experiment=text.replace('"mlp"', "{}"))
    assert fwdmft.plot(known, tmp_path / "figures")


def ensemble(*roles: str, **scaled: float) -> Groups:
    """Networks of another program: predictions in these roles, all numbers 1 but for those scaled."""
    count = {name: foreign.variable(("width",), [value]) for name, value in (("members", 3), ("diverged_members", 0))}
    numbers = np.ones((1, 2, 3, 1))
    count |= {f"prediction_{role}": foreign.variable(("width", *F), scaled.get(role, 1.0) * numbers) for role in roles}
    labels = {"time": foreign.variable(("time",), [0, 5]), "width": foreign.variable(("width",), [8])}
    return {"data": foreign.groups()["data"], "ensemble": xr.Dataset(count, labels)}


def test_variances_of_networks_are_not_negative(tmp_path: Path) -> None:
    roles = "variance", "variance_standard_error"
    validate_result(foreign.write(tmp_path / "theirs.nc", ensemble(*roles)))
    with pytest.raises(fwdmft.InputError, match="^ensemble/prediction_variance: got -1.0; expected variances over net"):
        validate_result(foreign.write(tmp_path / "theirs.nc", ensemble(*roles, variance=-1.0)))


def test_estimates_of_networks_have_errors(tmp_path: Path) -> None:
    for role in ("mean", "variance"):
        words = f"^ensemble/prediction_{role}_standard_error: got nothing; expected the standard error of prediction_"
        with pytest.raises(fwdmft.InputError, match=words):
            open_result(foreign.write(tmp_path / "theirs.nc", ensemble(role)))


def test_labels_and_what_errors_are_of(tmp_path: Path) -> None:
    actual = foreign.groups()
    actual["theory"]["loss"] = foreign.variable(("time", "split"), np.ones((2, 2)))
    with pytest.raises(
        fwdmft.InputError, match="^theory/split: got nothing; expected a coordinate split with the labels"
    ):
        validate_result(foreign.write(tmp_path / "theirs.nc", actual))
    actual["theory"] = foreign.groups()["theory"].drop_vars("prediction")
    with pytest.raises(
        fwdmft.InputError, match="^theory/prediction: got nothing; expected the variable whose standard"
    ):
        validate_result(foreign.write(tmp_path / "theirs.nc", actual))


def test_figures_that_lack_a_part_are_left_out(tmp_path: Path) -> None:
    """Whatever variables are there, with their errors: figures and the page are made of those."""
    tree = stand_ins.tree()
    tree.attrs["creation_library"] = "theirs"
    random = np.random.default_rng(0)
    for trial in range(4):
        some = tree.copy(deep=True)
        for half in ("theory", "ensemble"):
            group = tree[half].to_dataset()
            names = [str(name) for name in group if not str(name).endswith("_standard_error")]
            kept = [name for name in names if random.random() < 0.3 or name in ("members", "diverged_members")]
            errors = [f"{name}_standard_error" for name in kept if f"{name}_standard_error" in group]
            some[half] = xr.DataTree(group[kept + errors])
        read = validate_result(foreign_copy(some, tmp_path / f"{trial}.nc"))
        for draw in FIGURES.values():
            draw(read)
        page(read)


def foreign_copy(tree: xr.DataTree, path: Path) -> Path:
    tree.to_netcdf(path)
    return path


def test_networks_without_variances_are_compared_by_their_means(tmp_path: Path) -> None:
    networks = ensemble("mean", "mean_standard_error")
    path = foreign.write(tmp_path / "networks.nc", networks)
    theory = foreign.write(tmp_path / "theory.nc", foreign.groups())
    done = CliRunner().invoke(app, ["compare", str(theory), str(path)])
    assert done.exit_code == 0 and "mean, b unknown" in done.stdout and "N Var" not in done.stdout, done.output
    both = fwdmft.open_result(foreign.write(tmp_path / "both.nc", foreign.groups() | networks))
    numbers = fwdmft.agreement(both)
    assert (numbers["mean_entries"] == 6).all() and (numbers["variance_entries"] == 0).all()
    assert {path.stem for path in fwdmft.plot(both, tmp_path / "figures")} == {"predictions", "variance", "bias"}


def test_results_with_little_in_them(tmp_path: Path) -> None:
    """Shown by their variables; without a figure, where there is nothing to draw."""
    actual = foreign.groups()
    path = foreign.write(tmp_path / "theirs.nc", actual)
    shown = CliRunner().invoke(app, ["show", str(path)])
    assert shown.exit_code == 0 and shown.stdout.startswith("theory: prediction, prediction_standard_error")
    actual["theory"] = actual["theory"][["their_own"]]
    empty = foreign.write(tmp_path / "empty.nc", actual)
    drawn = CliRunner().invoke(app, ["plot", str(empty), "-o", str(tmp_path / "figures")])
    assert (drawn.exit_code, drawn.stderr.partition(";")[0]) == (2, "result: got {'theory': ['their_own']}")


def test_files_of_an_earlier_version_open(tmp_path: Path) -> None:
    """Version 2.0 had no third moments and no sums of groups."""
    older = stand_ins.tree()
    older.attrs["schema_version"] = "2.0"
    path = write_result(older, tmp_path / "older.nc")
    assert open_result(path).attrs["schema_version"] == "2.0"
    done = CliRunner().invoke(app, ["validate", str(path)])
    assert done.exit_code == 0 and "schema_version 2.0" in done.stdout


@pytest.mark.parametrize("version", ["2.9", "3.0"])
def test_files_of_a_later_version_are_refused(version: str, tmp_path: Path) -> None:
    later = stand_ins.tree()
    later.attrs["schema_version"] = version
    path = write_result(later, tmp_path / "later.nc")
    words = rf"schema_version 2.0 to 2.1, which .*; this file has {version}, of fwdmft .*: update fwdmft"
    with pytest.raises(fwdmft.InputError, match=words):
        open_result(path)
