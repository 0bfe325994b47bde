"""A package with an architecture of one's own to start from, written from the files in `plugin_template`."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template

from fwdmft.errors import InputError
from fwdmft.files import made_directory, replacing
from fwdmft.registry import registry

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "experiment.yaml": "experiment.yaml",
    "init.py": "fwdmft_{name}/__init__.py",
    "forward.py": "fwdmft_{name}/forward.py",
    "test_laws.py": "tests/test_laws.py",
}
"""Where each template goes."""

LONGEST = 40


def write_plugin(name: str, folder: Path | None = None) -> list[Path]:
    """Write the package of an architecture of this name. Its files.

    folder: made if it is not there; left out, fwdmft-NAME in the current one. Raises InputError for a name that is no
    name or taken, for a folder that holds something already, or that cannot be written to.
    """
    _check_name(name)
    project = name.replace("_", "-")
    place = Path(f"fwdmft-{project}") if folder is None else folder
    # With an ending, as no name that the templates import: `architecture` would hide Architecture.
    schema = "".join(part.capitalize() for part in name.split("_")) + "Fields"
    texts = {
        place / target.format(name=name): _template(source).substitute(name=name, project=project, schema=schema)
        for source, target in FILES.items()
    }
    try:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise InputError("output", str(place), "a new or empty folder; nothing is overwritten")
        made_directory(place)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as scratch:
                scratch.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise InputError("output", str(place), f"a folder to write files in ({problem.strerror})") from None
    return list(texts)


def _check_name(name: str) -> None:
    valid = re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) is not None and len(name) <= LONGEST
    if not valid or keyword.iskeyword(name):
        expected = f"a name of at most {LONGEST} small letters, digits and single underscores, a letter first"
        raise InputError("name", name, f"{expected}, and no word of Python")
    taken = registry().kinds("architecture")
    if name in taken:
        raise InputError("name", name, f"a new name; installed are {', '.join(taken)}")


def _template(source: str) -> Template:
    return Template(resources.files("fwdmft").joinpath("plugin_template", f"{source}.template").read_text("utf-8"))
