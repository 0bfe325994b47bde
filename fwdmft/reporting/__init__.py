"""A page to look at: `report(result, path)` writes one HTML file that opens offline in any browser.

Python chooses the quantities (`loss`, `observables`, `spectra`, `between`), thins them where they are many
(`thinning`), and packs them with labels and words (`packing`, `summary`, `page`); the scripts in `assets` let readers
choose what is drawn, by BokehJS. Bokeh, and not Plotly: its script is 1.4 MB instead of the 4.8 MB that Plotly's
package brings, and a page of the same figures opens in half the time.
"""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from fwdmft import files
from fwdmft.results.files import kept_open
from fwdmft.results.write import open_result
from fwdmft.sweeping.combined import open_sweep

__all__ = ["check_page", "report"]


def report(result: xr.DataTree | str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Write the page of a result, or of a sweep, to `path`; returns the file written.

    result: a tree (of `open_sweep` too), the path of a result file, or the directory of a sweep. A page holds at most
    `thinning.MOST_VALUES` numbers in single precision; where it shows some times or points only, it says so. Raises
    InputError for what is no result, a path that cannot be written or is something else, or where Bokeh is missing.
    """
    from fwdmft.reporting.page import page

    target = check_page(path)
    tree = result if isinstance(result, xr.DataTree) else _opened(Path(result))
    with kept_open():
        text = page(tree)
    with files.replacing(target) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return target


def _opened(path: Path) -> xr.DataTree:
    return open_sweep(path) if path.is_dir() else open_result(path)


def check_page(path: str | os.PathLike[str]) -> Path:
    """The path a page will be written to. Raises InputError("output", ...) as `fwdmft.files.check_output` does."""
    return files.check_output(path, "a page of fwdmft report", ".html", _is_page)


def _is_page(path: Path) -> bool:
    from fwdmft.reporting.page import MARK

    with open(path, "rb") as file:
        return MARK.encode() in file.read(2000)
