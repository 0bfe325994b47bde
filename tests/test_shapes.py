"""Arrays have the shapes that annotations say, in small runs of every architecture."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest
import shape_checks
from jaxtyping import TypeCheckError

ROOT = Path(__file__).resolve().parent.parent / "fwdmft"

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


def test_arrays_have_their_shapes_in_signatures_and_fields() -> None:
    bare = {}
    for name in ("engine", "corrections", "networks", "program"):
        for path in (ROOT / name).glob("*.py"):
            types = annotations(path.read_text(encoding="utf-8"))
            bare[f"{name}/{path.name}"] = [ast.unparse(each) for each in types if has_bare_array(each)]
    assert {path: each for path, each in bare.items() if each} == {}


def test_bare_arrays_are_seen() -> None:
    seen = annotations("""
Arrays = dict[str, np.ndarray]
class Pair(NamedTuple):
    left: Array | None
    right: Float[Array, "row"]
def made(of: Callable[[Array], None], *, at: Int[np.ndarray, ""]) -> jax.Array: ...
""")
    assert sorted(ast.unparse(each) for each in seen if has_bare_array(each)) == [
        "Array | None",
        "Callable[[Array], None]",
        "dict[str, np.ndarray]",
        "jax.Array",
    ]


def annotations(source: str) -> Iterator[ast.expr]:
    """Of arguments, what is returned, fields and variables, and types that are given a name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.arg(annotation=ast.expr() as annotation) | ast.FunctionDef(returns=ast.expr() as annotation):
                yield annotation
            case ast.AnnAssign(annotation=annotation) | ast.Assign(value=ast.Subscript() as annotation):
                yield annotation


def has_bare_array(annotation: ast.AST) -> bool:
    """Whether it has an array outside of the brackets of jaxtyping."""
    match annotation:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in {"Array", "ndarray", "ArrayLike", "NDArray"}
        case ast.Subscript(value=ast.Name(id=kind)) if hasattr(jaxtyping, kind):
            return False
    return any(map(has_bare_array, ast.iter_child_nodes(annotation)))
