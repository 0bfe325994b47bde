"""Words of a page: symbols as plain text (a canvas draws no LaTeX), names of dimensions, labels of points."""

from __future__ import annotations

import re
import unicodedata

import xarray as xr

from fwdmft.observables import METRICS, OBSERVABLES
from fwdmft.plotting.sweep_panels import FIELDS
from fwdmft.results.comparison import group

_SIGNS = {
    r"\infty": "∞",
    r"\to": "→",
    r"\ell": "ℓ",
    r"\pm": "±",
    r"\langle ": "⟨",
    r"\rangle": "⟩",
    r"\,": " ",
    "^{ℓ}": "ˡ",
    "_0": "₀",
    "N^{-1/2}": "1/√N",
    " - ": " − ",
    "$": "",
    "{": "",
    "}": "",
}
_DIMENSIONS = {
    "time": "step t",
    "layer": "layer ℓ",
    "width": "width N",
    "kernel_point": "point",
    "rank": "rank of eigenvalue",
}


def plain(latex: str) -> str:
    """A symbol, LaTeX with or without dollar signs, as text."""
    text = re.sub(r"\\math(rm|cal)\{([^{}]*)\}", r"\2", latex)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", text)
    for sign, shown in _SIGNS.items():
        text = text.replace(sign, shown)
    return re.sub(r"\\([A-Za-z]+)", _letter, text).strip()


def _letter(command: re.Match[str]) -> str:
    """A Greek letter by its name, and the name of anything else: plugins choose the symbols of their observables."""
    name = command[1].replace("ambda", "amda")  # as Unicode has it
    try:
        return unicodedata.lookup(f"GREEK {'CAPITAL' if name[0].isupper() else 'SMALL'} LETTER {name}")
    except KeyError:
        return command[1]


def words_of(name: str) -> str:
    """An observable in words; "subset" says that it is kept between some points only."""
    base = name.removeprefix("subset_")
    known = (OBSERVABLES | METRICS).get(base)
    words = known.words if known else base.replace("_", " ")
    return words + (", some points" if base != name else "")


def symbol_of(name: str, variable: xr.DataArray | None = None) -> str:
    """Its symbol as text: that of fwdmft, of the variable, or the name itself."""
    base = name.removeprefix("subset_")
    known = (OBSERVABLES | METRICS).get(base)
    symbol = known.symbol if known else (variable.attrs.get("symbol") if variable is not None else None)
    return plain(symbol) if symbol else base.replace("_", " ")


def dimension(name: str) -> str:
    """A dimension in words; the second of a pair has a prime."""
    base = name.removesuffix("_prime")
    words = plain(FIELDS[base]) if base in FIELDS else _DIMENSIONS.get(base, base.replace("_", " "))
    if base == name:
        return words
    return {"step t": "step t′", "layer ℓ": "layer ℓ′"}.get(words, f"{words}′")


def plural(name: str) -> str:
    """A dimension in words without a symbol, more than one of them."""
    base = name.removesuffix("_prime")
    return {"time": "times", "layer": "layers", "kernel_point": "points"}.get(base, base.replace("_", " ") + "s")


def point_words(tree: xr.DataTree) -> list[str]:
    """What the points are called: number, split, and the target if it is one number. Empty for a sweep."""
    data = group(tree, "data")
    if data is None or "split" not in data or data["split"].dims != ("point",):
        return []
    y = data["y"].values if "y" in data and data["y"].dims == ("point", "output") else None
    single = y is not None and y.shape[1] == 1
    return [
        f"{i} ({split}, y = {y[i, 0]:.3g})" if single and y is not None else f"{i} ({split})"
        for i, split in enumerate(data["split"].values.tolist())
    ]
