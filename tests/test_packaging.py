"""What is declared: dependencies that are used, with floors, and one version in all places. See `versions.py`."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import fwdmft
from tests.versions import ROOT, floors

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"fwdmft", *(folder.name for folder in (ROOT / "plugins").glob("fwdmft_*"))}


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _imported() -> set[str]:
    """Top-level modules that the installed packages import, of other distributions."""
    actual: set[str] = set()
    for folder in (ROOT / "fwdmft", ROOT / "plugins"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    actual |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    actual.add(node.module.partition(".")[0])
    return actual - OWN - set(sys.stdlib_module_names)


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    of = packages_distributions()
    used = {_plain(of[name][0]) for name in _imported()}
    used -= {"pydantic-core"}  # pydantic brings it in its version
    used |= {"pillow"}  # scikit-learn reads its photographs with it
    used |= {"flax"}  # modules of users may be made of it
    extras = PROJECT["optional-dependencies"]
    optional = [one for name in extras if name not in ("test", "dev", "docs") for one in extras[name]]
    assert set(optional) <= {*extras["test"], *extras["flax"]}  # what is optional is tested: `run.py` installs both
    declared = {_plain(re.split(r"[>=]", one)[0]) for one in [*PROJECT["dependencies"], *optional]}
    assert used == declared


def test_every_dependency_has_a_floor() -> None:
    pinned = floors()
    assert "jax==0.8.0" in pinned and all(re.fullmatch(r"[\w.-]+==[\d.]+", one) for one in pinned)
    assert len(pinned) == len(PROJECT["dependencies"]) + len(PROJECT["optional-dependencies"]["test"])


def test_one_version_everywhere() -> None:
    assert PROJECT["version"] == fwdmft.__version__
    assert f"\nversion: {fwdmft.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{fwdmft.__version__}}}" in (ROOT / "README.md").read_text()


def test_packages_are_typed_and_licensed() -> None:
    assert all((folder / "py.typed").is_file() for folder in (ROOT / "fwdmft", *(ROOT / "plugins").glob("fwdmft_*")))
    assert PROJECT["license"] == "MIT" and "MIT License" in (ROOT / "LICENSE").read_text()
