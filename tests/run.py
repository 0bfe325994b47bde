"""Everything that must pass, in one command: `python3 tests/run.py`.

Makes a virtual environment in .venv-test (kept for the next time), installs the package with its extras test, flax
and docs, then runs the linters, the type checker, the schema comparison, the build of the pages and the tests. Stops at
the first failure.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-test"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"

CHECKS = (
    (BIN / "ruff", "check", "."),
    (BIN / "ruff", "format", "--check", "."),
    (BIN / "mypy",),
    (BIN / "fwdmft", "schema", "--check", "schemas"),
    # Without running the scripts of the gallery, which takes longer than the rest.
    (BIN / "sphinx-build", "-q", "-W", "-E", "-D", "plot_gallery=0", "docs", ENVIRONMENT / "site"),
    # Tests that share what they computed run in one process (`tests/conftest.py`).
    (PYTHON, "-m", "pytest", "-q", "-n", "2", "--no-loadscope-reorder", "--durations", "15"),
)


def call(*command: object) -> None:
    """Run a command from the root of the repository; leave with its exit code if it fails."""
    words = [str(word) for word in command]
    print("+", " ".join(words), flush=True)
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    if code != 0:
        sys.exit(code)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (whatever Python the user has starts this script)
        sys.exit(f"fwdmft needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})")
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    call(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ".[test,flax,docs]")
    for command in CHECKS:
        call(*command)


if __name__ == "__main__":
    main()
