"""Sweep files: which points they have, their names, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from experiments import GAMMA0, TRAIN, experiment, sweep

import fwdmft
from fwdmft.sweeping.names import label, point_name
from fwdmft.sweeping.points import points


def refused(**changes: Any) -> str:
    with pytest.raises(fwdmft.InputError) as refusal:
        points(fwdmft.load_sweep(sweep(**changes)))
    return str(refusal.value)


def test_every_combination_is_a_point() -> None:
    actual = points(fwdmft.load_sweep(sweep()))
    files = [one.place.file for one in actual]
    assert files[:3] == ["gamma0=0.5,train=4.nc", "gamma0=0.5,train=6.nc", "gamma0=1,train=4.nc"]
    last = actual[-1].experiment
    assert (last.parameterization.richness(None), last.data.model_dump()["train"]) == (2.0, 6)
    assert last.name == "grid gamma0=2,train=6" and len(set(files)) == 6


def test_fields_that_vary_together() -> None:
    group = {GAMMA0: [0.5, 2], "optimizer.learning_rate": [0.1, 0.01]}
    actual = points(fwdmft.load_sweep(sweep(over={TRAIN: [4]}, together=[group])))
    rates = [(one.experiment.parameterization.richness(None), one.experiment.optimizer.plan(4)) for one in actual]
    assert [(gamma0, plan.learning_rates[0]) for gamma0, plan in rates] == [(0.5, 0.1), (2.0, 0.01)]
    assert actual[0].place.name == "train=4,gamma0=0.5,learning_rate=0.1"


def test_whole_sections_vary() -> None:
    schedules = [{"kind": "constant"}, {"kind": "cosine", "warmup": 3}]
    actual = points(
        fwdmft.load_sweep(sweep(over={"optimizer.schedule": schedules, "ensemble": [None, {"widths": [8]}]}))
    )
    assert [one.experiment.ensemble is None for one in actual] == [True, False] * 2
    assert [one.experiment.model_dump()["optimizer"]["schedule"]["kind"] for one in actual[::2]] == [
        "constant",
        "cosine",
    ]


def test_names_are_safe_and_different() -> None:
    values = [0.5, 1e-9, -3, True, None, "sign", "a/b.csv", "a_b.csv", "..", "", "x" * 300, [1, 2], [12], {"kind": "a"}]
    names = [label(value) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert not set(name) & set("/\\ ,=*?:\"'") and len(name) <= 40 and not name.startswith(".")
    assert point_name({"theory.seed": 1, "data.seed": 2}) == "theory.seed=1,data.seed=2"
    many = [point_name({f"field_{i}": value for i in range(30)}) for value in (1, 2)]
    assert many[0] != many[1] and max(map(len, many)) < 220


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base": None}, "base: got nothing; expected the experiment whose fields vary"),
        ({"base": 3}, "base: got 3; expected the path of an experiment file, or an experiment"),
        ({"base": "none.yaml"}, "base: got '"),
        ({"over": None}, "over: got nothing; expected over or together"),
        ({"over": {GAMMA0: 1}}, f"over.{GAMMA0}: got 1; expected a list"),
        ({"over": {GAMMA0: []}}, f"over.{GAMMA0}: got []; expected a list of at least 1 entries"),
        ({"over": {GAMMA0: [1, 2, 1]}}, f"over.{GAMMA0}: got [1, 2, 1]; expected distinct values"),
        ({"together": [{GAMMA0: [1]}]}, f"over: got '{GAMMA0}'; expected each field in one place only"),
        ({"over": {"data": [1], TRAIN: [4]}}, f"over: got '{TRAIN}'; expected each field in one place only; data"),
        ({"together": [{"theory.seed": [1], "theory.draws": [32, 64]}]}, "together.0: got {'theory.seed': 1"),
        ({"oevr": {}}, "oevr: got {}; expected one of the fields name, description, base, over, together"),
    ],
)
def test_bad_sweeps_are_refused(changes: dict[str, Any], expected: str) -> None:
    assert refused(**changes).startswith(expected)


def test_problems_name_the_point_and_the_field() -> None:
    lines = refused(over={GAMMA0: [0.5, -1], TRAIN: [4, 0]}).splitlines()
    assert lines == [
        f"point gamma0=0.5,train=0: {TRAIN}: got 0; expected a number of at least 1",
        f"point gamma0=-1,train=0: {TRAIN}: got 0; expected a number of at least 1",
        f"point gamma0=-1,train=4: {GAMMA0}: got -1; expected a number greater than 0",
        f"point gamma0=-1,train=0: {GAMMA0}: got -1; expected a number greater than 0",
    ]


def test_what_is_wrong_everywhere_is_said_once() -> None:
    assert refused(over={"parameterization.gama0": [1, 2]}).startswith("every point: parameterization.gama0: got 1;")
    assert refused(over={"name.first": [1, 2]}).startswith("every point: name.first: got 'grid first=1';")


def test_a_sweep_is_no_experiment_and_the_other_way_round() -> None:
    with pytest.raises(fwdmft.InputError, match="^experiment: got 'a sweep'; expected an experiment; `fwdmft sweep`"):
        fwdmft.load_experiment(sweep())
    with pytest.raises(fwdmft.InputError, match="^sweep: got 'an experiment'; expected a sweep, which has a field bas"):
        fwdmft.load_sweep(experiment())


def test_data_of_every_point_is_looked_at() -> None:
    message = refused(over={TRAIN: [4, 10**6]})
    assert message.startswith("point train=1000000: data.train: got 1000000")


def test_paths_start_at_the_file_that_names_them(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for directory, y in ((near, 1), (far, 2)):
        directory.mkdir()
        (directory / "points.csv").write_text(f"x0,y0,split\n1,{y},train\n")
    values = experiment(data={"kind": "file", "path": "points.csv"})
    (far / "base.yaml").write_text(yaml.safe_dump(values))

    def targets(**changes: Any) -> list[float]:
        (near / "sweep.yaml").write_text(yaml.safe_dump(sweep(**changes)))
        every = points(fwdmft.load_sweep(near / "sweep.yaml"))
        return [one.experiment.data.load(one.experiment.base).y.item() for one in every]

    seeds = {"theory.seed": [0]}
    assert targets(base="../far/base.yaml", over=seeds) == [2]
    assert targets(base="../far/base.yaml", over={"data.path": ["points.csv"]}) == [1]
    assert targets(base=values, over=seeds) == [1]
