"""What `judging.compare` finds, as tables for people and as plain values for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fwdmft.errors import NOTHING, shortened
from fwdmft.results.judging import Judged, SideBySide

BLIND = 2.0
"""Control below which a comparison tells nothing: shuffled entries agree as well."""

READING = (
    "z: difference in standard errors of both sides, over times and entries (pairs of points once); rms near 1 is\n"
    "agreement. control: rms z with the entries of the second side shuffled, which must fail; blind: it does not, so\n"
    "agreement tells nothing. Terms of higher order in 1/N are included. The loss at infinite width has a bound in\n"
    "place of an error, so its z can be small."
)
_WORDS = {"mean": "mean", "mean without b": "mean, b unknown", "variance": "N Var", "bias": "bias", "loss": "loss"}


def tables(comparison: SideBySide) -> RenderableType:
    """The experiments, what is shared, and a table for each pair of sides, for a rich console."""
    a, b = comparison.names
    shared, *counts = comparison.points
    parts: list[RenderableType] = (
        [_experiments(comparison)] if comparison.differ else [Text("The experiments are the same.")]
    )
    parts.append(Text(f"Shared: {shared} points of {counts[0]} in {a} and {counts[1]} in {b}."))
    parts += [Text(f"Warning: {note}", "bold red") for note in comparison.notes]
    for one in comparison.judged:
        words = f"\n{one.first} against {one.second}, {one.times} times shared"
        parts += [Text(words, style="italic"), _scores(one)]
    return Group(*parts, Text(READING, style="dim"))


def _experiments(comparison: SideBySide) -> Table:
    table = Table("field", *comparison.names, title="Experiments, where they differ", title_justify="left")
    for field, values in comparison.differ.items():
        table.add_row(Text(field), *(Text("-" if value is NOTHING else shortened(value)) for value in values))
    return table


def _scores(one: Judged) -> Table:
    table = Table()
    for heading in ("", "width", "observable", "entries", "rms z", "largest z", "control"):
        table.add_column(heading, justify="left" if heading in ("", "observable") else "right")
    for row in one.rows:
        numbers = (format(row[name], ".2f") for name in ("rms", "max"))
        words = _WORDS[row["quantity"]], str(row["width"]), row["observable"].replace("_", " ")
        table.add_row(*words, str(row["entries"]), *numbers, _control(row["control"]))
    return table


def _control(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}{', blind' if value < BLIND else ''}"


def as_json(comparison: SideBySide) -> str:
    """The same as JSON; what is not a number is null."""
    differ = {field: [None if v is NOTHING else v for v in values] for field, values in comparison.differ.items()}
    values = {
        "results": list(comparison.names),
        "differ": differ,
        "points": dict(zip(("shared", *comparison.names), comparison.points, strict=True)),
        "notes": comparison.notes,
        "comparisons": [
            {"first": one.first, "second": one.second, "times": one.times, "rows": list(_plain(one))}
            for one in comparison.judged
        ],
    }
    return json.dumps(values, indent=1, allow_nan=False)


def _plain(one: Judged) -> Iterator[dict[str, Any]]:
    for row in one.rows:
        yield {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
