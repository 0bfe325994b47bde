"""What is declared: dependencies that are used, with floors, and one version in all places. See `versions.py`.

And which parts of the package know which.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import fwdmft
from tests.versions import ROOT, floors

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"fwdmft", *(folder.name for folder in (ROOT / "plugins").glob("fwdmft_*"))}


def _plain(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _imported(*folders: Path) -> set[str]:
    """What the modules in these folders import, with its place: a.b.c for `from a.b import c`."""
    names: set[str] = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def _of_others() -> set[str]:
    """Top-level modules that the installed packages import, of other distributions."""
    imported = {name.partition(".")[0] for name in _imported(ROOT / "fwdmft", ROOT / "plugins")}
    return imported - OWN - set(sys.stdlib_module_names)


def test_what_is_imported_is_declared_and_nothing_else() -> None:
    of = packages_distributions()
    used = {_plain(of[name][0]) for name in _of_others()}
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


def test_parts_know_others_one_way() -> None:
    """Networks, which test the theory, know nothing of it; the engine knows no network; nor do `program` and
    `corrections` know each other."""
    known: dict[str, set[str]] = {
        "networks": set(),
        "engine": set(),
        "program": {"engine", "networks"},
        "corrections": {"engine"},
    }
    for part, others in known.items():
        imported = {name.split(".")[1] for name in _imported(ROOT / "fwdmft" / part) if name.startswith("fwdmft.")}
        assert imported & known.keys() <= {part, *others}, part
