"""The pages in docs/: what they name exists, and their code is code. Sphinx itself is run by hand (CONTRIBUTING)."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import fwdmft

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
sys.path.insert(0, str(DOCS))

import plain_docstrings  # noqa: E402
import schema_tables  # noqa: E402

PARSERS = {"python": ast.parse, "yaml": yaml.safe_load, "toml": tomllib.loads}
NAMED = re.compile(r"`((?:benchmarks|docs|examples|fwdmft|plugins|schemas|tests)/[\w./-]+)`")


def of_page(page: Path) -> str:
    return str(page.relative_to(DOCS))


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not heading or heading in anchors(found), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_blocks_of_code_parse(page: Path) -> None:
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        PARSERS.get(language, str)(code)


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r"^[a-z_/]+$", (DOCS / "index.md").read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(of_page(page)[:-3] for page in PAGES if page.name != "index.md")


def test_the_tutorial_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """But for the numbers of its random networks. After one step Sigma is 4 eta^2 y^2 + eta^4 gamma0^2 y^4, b is 0."""
    code, printed = re.findall(
        r"^```(?:python|text)\n(.*?)^```", (DOCS / "tutorial.md").read_text("utf-8"), re.S | re.M
    )
    made: dict = {}
    exec(code, made)
    random = re.compile(r"networks [-+.\d]+( \+- [.\d]+)?")
    assert random.sub("", capsys.readouterr().out) == random.sub("", printed)
    assert abs(made["sigma"][1] - (4 * 0.1**2 + 0.1**4)) < 1e-9 and abs(made["b"][1]) < 1e-8


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
    for code in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
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
