"""A plugin as `fwdmft new-plugin` writes it: built, installed beside fwdmft, listed, checked, tested."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from fwdmft.errors import InputError
from fwdmft.new_plugin import FILES, write_plugin
from fwdmft.testing import LAWS

ROOT = Path(__file__).resolve().parent.parent


def test_it_is_built_installed_and_checked(tmp_path: Path) -> None:
    """By all laws, in a new environment, whose Python finds fwdmft where this one does."""
    written = write_plugin("two_words", tmp_path / "source")
    assert sorted(written) == sorted(path for path in (tmp_path / "source").rglob("*") if path.is_file())
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 40 for path in written)
    venv.create(tmp_path / "new")
    python = str(tmp_path / "new" / ("Scripts" if os.name == "nt" else "bin") / "python")
    _run(tmp_path, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-index", "./source", python=python)
    assert "architecture: two_words" in _run(tmp_path, "-m", "fwdmft", "plugins", python=python)
    checked = _run(tmp_path, "-m", "fwdmft", "check-plugin", "two_words", python=python)
    assert checked.count("holds") == len(LAWS) and "two_words: activation tanh" in checked
    assert "order" in checked and "of the largest entry" in checked and "N Var prediction" in checked
    tests = "-m", "pytest", "-q", "-p", "no:cacheprovider", "source/tests", "-k", "calling"
    assert "1 passed" in _run(tmp_path, *tests, python=python)
    assert "is valid" in _run(tmp_path, "-m", "fwdmft", "validate", "source/experiment.yaml", python=python)


def test_its_code_is_in_the_style_of_ours(tmp_path: Path) -> None:
    write_plugin("x", tmp_path)
    _run(tmp_path, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "I", str(tmp_path))
    _run(tmp_path, "-m", "ruff", "format", "--check", "--config", str(ROOT / "pyproject.toml"), str(tmp_path))


def _run(site: Path, *words: str, python: str = sys.executable) -> str:
    """What a command says in a process at `site`, which finds what lies there."""
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run([python, *words], env=environment, cwd=site, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["", "Sine", "1st", "a-b", "a__b", "_a", "a_", "class", "a" * 41, "../x", "ä"])
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^name: got .*; expected a name of at most 40 small letters"):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^name: got 'mlp'; expected a new name; installed are"):
        write_plugin("mlp", tmp_path / "new")


def test_a_name_that_the_templates_import(tmp_path: Path) -> None:
    write_plugin("architecture", tmp_path)
    assert "kind='architecture'" in _run(
        tmp_path, "-c", "import fwdmft_architecture.forward as f; print(f.ArchitectureFields())"
    )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    for folder in (tmp_path, tmp_path / "kept"):
        with pytest.raises(InputError, match="^output: got .*; expected a new or empty folder; nothing is overwritten"):
            write_plugin("x", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(InputError, match="^output: got .*; expected a directory that can be made"):
        write_plugin("x", tmp_path / "kept" / "below")


def test_every_template_is_used() -> None:
    there = {path.name.removesuffix(".template") for path in (ROOT / "fwdmft" / "plugin_template").iterdir()}
    assert there == set(FILES)
