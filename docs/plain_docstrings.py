"""Docstrings as they are: ours are plain text with formulas, not reStructuredText."""

import re


def process(app, what, name, obj, options, lines):
    """Handler of autodoc: replace the lines of a docstring by reStructuredText that shows the same."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    lines[:] = "\n\n".join(map(_shown, paragraphs)).splitlines()


def _shown(paragraph: str) -> str:
    """Text that is indented or aligned keeps its lines; the rest flows."""
    if re.search(r"^\s|\S {3,}\S|^-{3,}", paragraph, re.MULTILINE):
        return ".. code-block:: text\n\n" + "\n".join("    " + line for line in paragraph.splitlines())
    pieces = re.split(r"`([^`]+)`", paragraph)
    return "".join(f"``{piece}``" if i % 2 else re.sub(r"([\\*|_])", r"\\\1", piece) for i, piece in enumerate(pieces))
