"""One HTML file with everything in it: words, tables, figures with their numbers, styles and scripts."""

from __future__ import annotations

import json
import math
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import to_hex

from fwdmft.plotting import errors, style
from fwdmft.reporting import summary
from fwdmft.reporting.between import between_families
from fwdmft.reporting.family import Family
from fwdmft.reporting.library import bokeh_scripts
from fwdmft.reporting.loss import loss_families
from fwdmft.reporting.observables import observable_families
from fwdmft.reporting.packing import packed
from fwdmft.reporting.spectra import spectrum_families
from fwdmft.reporting.thinning import thinned
from fwdmft.reporting.words import point_words
from fwdmft.results.comparison import group
from fwdmft.results.experiments import swept_dimensions

MARK = '<meta name="generator" content="fwdmft report">'
"""What a page of `fwdmft report` begins with; anything else is not replaced by a new one."""

_SCRIPTS = ("data.js", "values.js", "controls.js", "exports.js", "curves.js", "matrices.js", "main.js")
# Nothing is fetched, whatever the libraries may try: the browser itself forbids it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def families(tree: xr.DataTree) -> list[Family]:
    """All quantities that a page of this result shows, thinned where they are too many numbers."""
    theory, ensemble = (_labelled(group(tree, name)) for name in ("theory", "ensemble"))
    shown = [
        *loss_families(theory, ensemble),
        *observable_families(theory, ensemble),
        *spectrum_families(theory, ensemble),
        *between_families(theory),
    ]
    return thinned(shown)


def _labelled(half: xr.Dataset | None) -> xr.Dataset | None:
    """Points, outputs and the like get their numbers as labels, which they keep when some are chosen."""
    if half is None:
        return None
    # Before xarray 2025 a dimension has labels or an index of another name, such as that of splits.
    plain = half.drop_indexes([name for name in half.xindexes if name not in half.dims])
    return plain.assign_coords({dim: np.arange(size) for dim, size in half.sizes.items() if dim not in half.coords})


def figure_data(tree: xr.DataTree) -> dict[str, Any]:
    """What the scripts of the page draw, as JSON: see `packing.packed`; words of points, colours, sizes of errors."""
    look = {
        "points": point_words(tree),
        "swept": swept_dimensions(tree),
        "shades": [to_hex(one) for one in style.shades(64)],
        "errors": errors.SHOWN,
        "title": str(tree.attrs.get("title", "fwdmft")),
    }
    return packed(families(tree)) | look


def page(tree: xr.DataTree) -> str:
    """The page of a result, or of the combined tree of a sweep. Raises InputError where Bokeh is missing."""
    library = bokeh_scripts()
    data = figure_data(tree)
    parts = {
        "MARK": MARK,
        "POLICY": _POLICY,
        "TITLE": escape(data["title"]),
        "STYLE": _asset("page.css"),
        "HEAD": summary.head(tree),
        "AGREEMENT": summary.agreement_section(tree) + summary.loss_section(tree),
        "SETTINGS": summary.settings_section(tree),
        "DATA": as_json(data),
        "LIBRARY": "\n".join(_script(text) for text in library),
        "SCRIPTS": "\n".join(_script(_asset(name)) for name in _SCRIPTS),
    }
    text = _asset("page.html")
    before, *pieces = text.split("{{")
    filled = [before]
    for piece in pieces:
        name, after = piece.split("}}", 1)
        filled += [parts[name], after]
    return "".join(filled)


def _script(text: str) -> str:
    return "<script>" + text.replace("</script", "<\\/script") + "</script>"


def as_json(data: object) -> str:
    """JSON that may stand in a script element, with null for numbers that are not finite."""
    return json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _asset(name: str) -> str:
    return (files("fwdmft.reporting") / "assets" / name).read_text(encoding="utf-8")
