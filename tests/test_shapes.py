"""Arrays have the shapes that annotations say, in small runs of every architecture."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
import shape_checks
from jaxtyping import TypeCheckError

WRONG = """
from jaxtyping import Array, Float

def swapped(rows: Float[Array, "row column"]) -> Float[Array, "column row"]:
    return rows
"""


def test_experiments() -> None:
    """In a process of its own, as checks are added to modules when they are imported."""
    command = [sys.executable, "-c", "import shape_checks; shape_checks.main()"]
    run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_wrong_shape_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong_shapes.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    with shape_checks.checking(("wrong_shapes",)):
        module = importlib.import_module("wrong_shapes")
    module.swapped(jnp.ones((2, 2)))
    with pytest.raises(TypeCheckError, match="wrong_shapes.swapped"):
        module.swapped(jnp.ones((2, 3)))
