"""Every block of Python on the pages runs, in the order of its page: experiments at small size, results stand-ins.

A block that begins with the name of a file is that file; packages of plugins that are written so are registered.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import result_stand_ins
import xarray as xr
from pages import DOCS, PAGES, ROOT, blocks, of_page

import fwdmft
from fwdmft.experiment.model import Experiment
from fwdmft.plotting import FIGURES
from fwdmft.preparing import prepare
from fwdmft.registry import Registry
from fwdmft.results import write_result
from fwdmft.running import run
from fwdmft.sweeping.manifest import Manifest, write_manifest
from fwdmft.sweeping.points import points
from fwdmft.sweeping.spec import Sweep

TUTORIAL = DOCS / "tutorial.md"
WITH_CODE = [page for page in PAGES if page != TUTORIAL and blocks(page, "python")]
FILE = re.compile(r"# ([\w/]+\.py)\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader: the examples, a result and a sweep."""
    actual = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", actual / "examples", ignore=shutil.ignore_patterns("paper", "plugins"))
    (actual / "DIR").mkdir()
    written = write_result(result_stand_ins.tree(), actual / "digits.nc")
    shutil.copy(written, actual / "DIR" / "one.nc")
    write_manifest(Manifest("grid", "", [{"parameterization.gamma0": [1.0]}], ["one.nc"]), actual / "DIR")
    return actual


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder, where the reader is. What is imported from it is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(fwdmft, "run", small_run, raising=False)
    monkeypatch.setattr("fwdmft.plotting.FIGURES", {"loss": FIGURES["loss"]})
    yield folder
    for name in [name for name, module in sys.modules.items() if is_under(folder, module)]:
        del sys.modules[name]


def is_under(folder: Path, module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)


def small_run(experiment: Experiment) -> xr.DataTree:
    """`fwdmft.run`: the experiment is prepared as it is, and a small one is run in its place."""
    prepare(experiment)
    return small_result()


@cache
def small_result() -> xr.DataTree:
    small = {
        "name": "small",
        "architecture": {"kind": "mlp"},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.02, "steps": 3},
        "data": {"kind": "digits", "train": 4, "test": 2},
        "theory": {"neurons": 128, "replicates": 2, "relative_error": 0.5, "bias": False},
        "ensemble": {"widths": [8], "members": 8},
    }
    return run(fwdmft.load_experiment(small))


def execute(page: Path, place: Path) -> tuple[dict[str, Any], list[str]]:
    """Names that the blocks leave behind, and the packages that they write."""
    made: dict[str, Any] = {}
    files = []
    for code in blocks(page, "python"):
        if named := FILE.match(code):
            files.append(place / named[1])
            files[-1].parent.mkdir(exist_ok=True)
            files[-1].write_text(code, "utf-8")
            importlib.invalidate_caches()
            runpy.run_path(str(files[-1]))
        else:
            exec(compile(code, of_page(page), "exec"), made)
    return made, [file.parent.name for file in files if file.name == "__init__.py"]


class Prepared(Exception):
    """What a run is made of is there."""


@pytest.mark.parametrize("script", sorted((ROOT / "examples" / "scripts").glob("*.py")), ids=of_page)
def test_scripts_ask_for_what_can_be_run(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to their first run; the build of the site runs them whole."""

    def prepared(experiment: Experiment) -> None:
        prepare(experiment)
        raise Prepared

    def swept(sweep: Sweep, directory: str) -> None:
        points(sweep, prepare)
        raise Prepared

    monkeypatch.chdir(script.parent)
    monkeypatch.setattr(fwdmft, "run", prepared, raising=False)
    monkeypatch.setattr(fwdmft, "run_sweep", swept, raising=False)
    with pytest.raises(Prepared):
        runpy.run_path(str(script))


@pytest.mark.parametrize("page", WITH_CODE, ids=of_page)
def test_blocks_run(page: Path, place: Path) -> None:
    _, packages = execute(page, place)
    reports = Registry([EntryPoint(name, name, "fwdmft") for name in packages]).reports[1:]
    assert [(each.failure, bool(each.registers)) for each in reports] == [(None, True)] * len(packages)


def test_the_tutorial_prints_what_it_says(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    """But for the numbers of its random networks. After one step Sigma is 4 eta^2 y^2 + eta^4 gamma0^2 y^4, b is 0."""
    made, _ = execute(TUTORIAL, place)
    random = re.compile(r"networks [-+.\d]+( \+- [.\d]+)?")
    (printed,) = blocks(TUTORIAL, "text")
    assert random.sub("", capsys.readouterr().out) == random.sub("", printed)
    assert abs(made["sigma"][1] - (4 * 0.1**2 + 0.1**4)) < 1e-9 and abs(made["b"][1]) < 1e-8
