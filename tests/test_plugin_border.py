"""What plugins import: `fwdmft.plugin` alone, which has everything and is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fwdmft import plugin

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted([*ROOT.glob("plugins/**/*.py"), *ROOT.glob("examples/plugins/**/*.py")])


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_nothing_else_of_fwdmft(path: Path) -> None:
    assert _imported_from_fwdmft(path.read_text(encoding="utf-8")) <= {"fwdmft.plugin", "fwdmft.testing"}


def _imported_from_fwdmft(source: str) -> set[str]:
    actual: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            actual |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            actual.add(node.module)
    return {name for name in actual if name.partition(".")[0] == "fwdmft"}


def test_every_name_is_there_and_in_the_docstring() -> None:
    for name in plugin.__all__:
        assert getattr(plugin, name) is not None
        assert f"`{name}`" in str(plugin.__doc__), name
    assert set(plugin._HOMES) <= set(plugin.__all__) == set(dir(plugin))
    with pytest.raises(AttributeError, match="has no attribute 'Nett'"):
        _ = plugin.Nett  # type: ignore[attr-defined]


def test_importing_it_imports_no_jax() -> None:
    script = "import sys, fwdmft.plugin; print('jax' in sys.modules, 'equinox' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
