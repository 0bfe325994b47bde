"""Try fwdmft with the lowest or the newest versions that pyproject.toml allows: `python3 tests/versions.py lowest`.

Builds a wheel, installs it in a fresh environment of the Python that runs this script, and runs `installed.py`
there, away from the sources. `lowest` turns every `name>=version` of pyproject.toml into `name==version`; run it with
the oldest Python that fwdmft supports, as old releases have no files for newer ones. Run `newest` with any.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(__file__).with_name("installed.py")
FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<version>[0-9][0-9.]*)")


def floors() -> list[str]:
    """Every dependency, with those of the tests, pinned to its lowest version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    actual = [FLOOR.fullmatch(one) for one in named]
    if None in actual:
        sys.exit(f"a dependency without a floor of the form name>=version: {named[actual.index(None)]}")
    return [f"{one['name']}=={one['version']}" for one in actual if one is not None]


def main(which: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        pip = (python, "-m", "pip", "--disable-pip-version-check")
        constraints = home / "constraints.txt"
        constraints.write_text("\n".join(floors() if which == "lowest" else []))
        call(home, *pip, "wheel", "-q", "--no-deps", "-w", home, ROOT)
        wheel = next(home.glob("*.whl"))
        call(home, *pip, "install", "-q", "--prefer-binary", "-c", constraints, f"{wheel}[report]", "pytest")
        call(home, *pip, "freeze")
        # -P: the tests see what is installed, not what lies beside them.
        pytest = (python, "-P", "-m", "pytest", "-q", "--disable-warnings", "-p", "no:cacheprovider")
        call(home, *pytest, "--rootdir", home, "-c", os.devnull, TESTS)


def call(place: Path, *command: object) -> None:
    """Run a command in `place`; leave with its exit code if it fails."""
    words = [str(word) for word in command]
    print("+", " ".join(words), flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = subprocess.run(words, cwd=place, env=environment, check=False).returncode
    if code != 0:
        sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1:] not in (["lowest"], ["newest"]):
        sys.exit(f"usage: {sys.argv[0]} lowest|newest")
    main(sys.argv[1])
