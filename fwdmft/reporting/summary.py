"""The words and tables of a page, as HTML: what was run, losses, agreement, settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape

import numpy as np
import xarray as xr
import yaml

from fwdmft.plotting.heading import facts, few, widths_of
from fwdmft.reporting.words import dimension, plain
from fwdmft.results import report
from fwdmft.results.scores import QUANTITIES, agreement, agreement_rows, pooled

_QUANTITIES = {"mean": "Means", "variance": "Variances", "bias": "Shifts of means"}


def head(tree: xr.DataTree) -> str:
    """Title, description, and facts of the experiment."""
    experiment = _experiment(tree)
    title = str(tree.attrs.get("title", "fwdmft"))
    swept = {str(name): few(one.values) for name, one in tree.coords.items()} if _is_sweep(tree) else {}
    known = [*facts(experiment, swept), widths_of(tree)]
    said = ("kind", "activation", "depth", "gamma0", "learning_rate")  # by `facts`
    others = [f"{dimension(name)} = {values}" for name, values in swept.items() if name not in said]
    listed = [*map(plain, known), *others, *_points(tree), *_origin(tree)]
    items = "".join(f"<li>{escape(one)}</li>" for one in filter(None, listed))
    described = experiment.get("description") or ""
    return f"<h1>{escape(title)}</h1><p>{escape(described)}</p><ul class='facts'>{items}</ul>"


def _experiment(tree: xr.DataTree) -> dict:
    return json.loads(tree.attrs.get("experiment") or tree.attrs.get("first_experiment", "{}"))


def _points(tree: xr.DataTree) -> Iterator[str]:
    data = tree["data"].to_dataset()
    if "split" in data and data["split"].dims == ("point",):
        split = data["split"].values
        yield f"{(split == 'train').sum()} training and {(split == 'test').sum()} test points"


def _origin(tree: xr.DataTree) -> Iterator[str]:
    attrs = tree.attrs
    if "creation_library_version" in attrs:
        yield f"fwdmft {attrs['creation_library_version']}"
    if "created_at" in attrs:
        yield str(attrs["created_at"])[:10]


def agreement_section(tree: xr.DataTree) -> str:
    """Tiles of the pooled scores, warnings, and a table with every measure."""
    warnings = (
        ""
        if _is_sweep(tree)
        else "".join(
            f"<p class='{'warning' if 'Warning' in line.plain else 'note'}'>{escape(line.plain)}</p>"
            for line in (*report.diverged_lines(tree), *report.theory_lines(tree))
        )
    )
    numbers = agreement(tree)
    if not numbers.data_vars:
        return warnings + "<p>Theory or networks alone: nothing to compare.</p>"
    tiles = "".join(_tile(numbers, quantity) for quantity in QUANTITIES)
    reading = escape(report.READING)
    return f"{warnings}<div class='tiles'>{tiles}</div><p class='note'>{reading}</p>{_agreement_table(numbers)}"


def _is_sweep(tree: xr.DataTree) -> bool:
    return "sweep_dimensions" in tree.attrs


def _tile(numbers: xr.Dataset, quantity: str) -> str:
    rms, largest = pooled(numbers, quantity)
    value = "–" if np.isnan(rms) else f"{rms:.2f}"
    under = (
        "not compared" if np.isnan(rms) else f"standard errors rms, {largest:.1f} at most{_by_width(numbers, quantity)}"
    )
    words = f"<b>{_QUANTITIES[quantity]}</b><small>{escape(QUANTITIES[quantity])}</small>"
    return f"<div class='tile'>{words}<strong>{value}</strong><small>{under}</small></div>"


def _by_width(numbers: xr.Dataset, quantity: str) -> str:
    if "width" not in numbers[f"{quantity}_rms"].dims or numbers.sizes["width"] < 2:
        return ""
    each = [(width, pooled(numbers.sel(width=width), quantity)[0]) for width in numbers["width"].values.tolist()]
    return "; rms " + ", ".join(f"{rms:.2f} at N = {width}" for width, rms in each if not np.isnan(rms))


def _agreement_table(numbers: xr.Dataset) -> str:
    rows = list(agreement_rows(numbers))
    places = list(rows[0])[: list(rows[0]).index("quantity")] if rows else []  # of a sweep
    heads = [*places, "quantity", "N", "observable", *(words for words, _ in report.COLUMNS.values()), "off (s.e.)"]
    body = [
        [
            *(str(row[name]) for name in places),
            report.WORDS[row["quantity"]],
            str(row["width"]),
            row["observable"].replace("_", " "),
            *(report.cell(row[name], style) for name, (_, style) in report.COLUMNS.items()),
            report.with_error(row["relative_error"], row["relative_standard_error"]),
        ]
        for row in rows
    ]
    return table("Every measure", heads, body, numeric=len(places) + 3)


def loss_section(tree: xr.DataTree) -> str:
    """Losses at the last step; nothing without any, and for a sweep, whose figure has them."""
    if _is_sweep(tree):
        return ""
    splits = report.splits_present(tree)
    rows = list(report.loss_rows(tree, splits))
    return table("Loss at the last step", ["N", "", *splits], rows, numeric=2) if rows else ""


def settings_section(tree: xr.DataTree) -> str:
    """The experiment file, conventions, and what the run took."""
    written = yaml.safe_dump(_experiment(tree), sort_keys=False, allow_unicode=True)
    words = "first experiment of the sweep" if _is_sweep(tree) else "experiment"
    parts = [f"<details><summary>The {words}</summary><pre tabindex='0'>{escape(written)}</pre></details>"]
    conventions = str(tree.attrs.get("model_conventions", ""))
    items = "".join(f"<li>{escape(one.strip())}</li>" for one in conventions.split(";"))
    source = escape(str(tree.attrs.get("source", "")))
    parts.append(f"<details><summary>Conventions</summary><ul>{items}</ul><p>{source}</p></details>")
    if "diagnostics" in tree.children and not _is_sweep(tree):
        diagnostics = tree["diagnostics"].to_dataset()
        rows = [
            [name.replace("_", " "), _short(one)]
            for name, one in map(_named, diagnostics.data_vars.items())
            if not one.dims
        ]
        parts.append(table("What the run took", ["", ""], rows, numeric=1))
    return "".join(parts)


def _named(item: tuple) -> tuple[str, xr.DataArray]:
    return str(item[0]), item[1]


def _short(one: xr.DataArray) -> str:
    value = one.item()
    units = one.attrs.get("units", "1")
    number = f"{value:.5g}" if isinstance(value, float) else str(value)
    return number if units == "1" else f"{number} {units}"


def table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]], numeric: int) -> str:
    """A table that opens; cells from column `numeric` on are numbers. It scrolls in its frame where it is wide."""
    classes = lambda i: " class='number'" if i >= numeric else ""  # noqa: E731
    top = "".join(f"<th scope='col'{classes(i)}>{escape(one)}</th>" for i, one in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{classes(i)}>{escape(str(one))}</td>" for i, one in enumerate(row)) + "</tr>"
        for row in rows
    )
    framed = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    name = escape(title)
    return (
        f"<details><summary>{name}</summary>"
        f"<div class='wide' tabindex='0' role='region' aria-label='{name}'>{framed}</div></details>"
    )
