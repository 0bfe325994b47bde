"""README and the pages in docs/: what they name exists. `test_page_code.py` runs their code, `run.py` builds them."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import DOCS, PAGES, README, ROOT, blocks, of_page

import fwdmft
from fwdmft.cli import app

sys.path.insert(0, str(DOCS))

import plain_docstrings  # noqa: E402
import schema_tables  # noqa: E402

NAMED = re.compile(r"`((?:benchmarks|docs|examples|fwdmft|plugins|schemas|tests)/[\w./-]+)`")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=of_page)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        actual = page.parent / path if path else page
        assert actual.exists(), target
        assert not heading or heading in anchors(actual), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_toml_parses(page: Path) -> None:
    for code in blocks(page, "toml"):
        tomllib.loads(code)


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^[a-z_/]+$", (DOCS / "index.md").read_text("utf-8"), flags=re.MULTILINE))
    pages = [str(page.relative_to(DOCS))[:-3] for page in PAGES if page.is_relative_to(DOCS)]
    assert listed == {*pages, "scripts/index"} - {"index"}  # the latter is made of examples/scripts


def test_pages_include_parts_of_the_readme() -> None:
    """Each mark that a page includes from or to is there, once."""
    for page in PAGES:
        for mark in re.findall(r"^:(?:start-after|end-before): (.*)$", page.read_text("utf-8"), re.MULTILINE):
            assert README.read_text("utf-8").count(mark) == 1, mark


def test_every_command_is_documented() -> None:
    commands = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    described = re.findall(
        r"^\| `fwdmft ([\w-]+)", (DOCS / "reference" / "commands.md").read_text("utf-8"), re.MULTILINE
    )
    assert set(described) == commands
    shown = [code for page in PAGES for code in blocks(page, "sh")]
    assert {name for code in shown for name in re.findall(r"\bfwdmft ([a-z-]+)", code)} <= commands


def test_messages_are_those_of_the_code() -> None:
    """Headings in quotation marks, where … stands for any text."""
    quoted = re.findall(r'^#+ "(.*)"$', (DOCS / "questions.md").read_text("utf-8"), flags=re.MULTILINE)
    texts = "\n".join(text for home in ("fwdmft", "plugins") for text in texts_in(ROOT / home))
    assert len(quoted) > 20
    for message in quoted:
        assert re.search(".*".join(map(re.escape, message.split("…"))), texts), message


def texts_in(home: Path) -> list[str]:
    """All text in the code, with … in place of what is put in."""
    actual = []
    for path in home.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                actual.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                actual.append(node.value)
    return actual


SMALL = {
    "name": "small",
    "architecture": {"kind": "mlp"},
    "optimizer": {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 2},
    "data": {"kind": "digits"},
    "ensemble": {"widths": [8]},
}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_experiments_are_valid(page: Path) -> None:
    """Whole ones, and sections in place of those of a small one; sweeps name their fields."""
    for code in blocks(page, "yaml"):
        sections = yaml.safe_load(code) or {}
        if "over" not in sections:
            fwdmft.load_experiment(SMALL | sections)


def test_tables_have_every_field_and_variable() -> None:
    made = {"experiment": schema_tables.experiment(), "result": schema_tables.result()}
    for file, table in made.items():
        assert all(line.count(" | ") >= 2 for line in table.splitlines() if line.startswith("|"))
        schema = json.loads((ROOT / "schemas" / f"{file}.schema.json").read_text("utf-8"))
        parts = schema["$defs"].values() if file == "experiment" else _groups(schema)
        names = {name for part in parts for name in part.get("properties", ()) if name != "kind"}
        assert names and all(f"| `{name}` |" in table for name in names)


def _groups(schema: dict) -> list[dict]:
    return [group["properties"]["variables"] for group in schema["properties"]["groups"]["properties"].values()]


def test_docstrings_are_shown_as_they_are() -> None:
    lines = ["One |x|^2 and *_variance, see `run`.", "", "    h = W x", "    f = w h"]
    plain_docstrings.process(None, "function", "f", None, None, lines)
    assert lines[0] == r"One \|x\|^2 and \*\_variance, see ``run``."
    assert lines[2:] == [".. code-block:: text", "", "        h = W x", "        f = w h"]
