"""Looks at pages of `fwdmft report` in a real Chromium: `python tests/browser_check.py [RESULT ...] -o PICTURES`.

Needs playwright (`pip install playwright`) and a chromium on the path (Debian: package chromium), and is no part of
pytest, as not every machine has these. Without results it looks at the stand-in of the tests: two outputs, two layers,
kernels between times, three widths. Checked, and told line by line: no errors in the console, no requests, nothing
wider than the window, all figures drawn, values that are the result's wherever a control is moved to, every control
reached by Tab, tooltips, pictures. Screenshots at 400, 900 and 1600 px go to the directory.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright
from result_stand_ins import tree as stand_in

import fwdmft
from fwdmft.results.comparison import group

WINDOWS = (400, 900, 1600)
MOST_COMPARED = 40  # values of a figure
FIRST_DRAWN = "document.querySelector('.figure[data-drawn]')"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory for screenshots and pages")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="the browser's program")
    wanted = parser.parse_args()
    wanted.output.mkdir(parents=True, exist_ok=True)
    failures = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=wanted.browser, args=["--no-sandbox"])
        for name, tree in _trees(wanted.results):
            file = fwdmft.report(tree, wanted.output / f"{name}.html")
            print(f"{name}: {file.stat().st_size / 1e6:.2f} MB")
            for window in WINDOWS:
                page = browser.new_page(viewport={"width": window, "height": 900}, accept_downloads=True)
                failures += _looked_at(page, file, tree, window, wanted.output / f"{name}_{window}.png")
                page.close()
        browser.close()
    print("all as it should be" if not failures else f"{failures} failures")
    return bool(failures)


def _trees(results: list[Path]) -> Iterator[tuple[str, xr.DataTree]]:
    if not results:
        yield "stand_in", stand_in(outputs=2)
    for path in results:
        yield path.stem, fwdmft.open_sweep(path) if path.is_dir() else fwdmft.open_result(path)


def _looked_at(page: Page, file: Path, tree: xr.DataTree, window: int, picture: Path) -> int:
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error.stack)))
    local = ("file:", "data:", "blob:")
    page.on("request", lambda one: None if one.url.startswith(local) else troubles.append(one.url))
    page.add_init_script(_GIVEN)
    page.goto(file.absolute().as_uri())
    page.wait_for_function(FIRST_DRAWN)
    opened = page.evaluate("performance.now()") / 1000
    _draw_all(page)
    page.screenshot(path=picture, full_page=True)
    checks: dict[str, Callable[[], str]] = {
        "fits the window": lambda: _fits(page, window),
        "all figures drawn": lambda: _drawn(page),
        "controls": lambda: _controls(page, tree),
        "keyboard reaches all": lambda: _keyboard(page),
        "tooltip": lambda: _tooltip(page),
        "files": lambda: _files(page),
    }
    outcomes = {name: check() for name, check in checks.items()}
    outcomes["no errors, no requests"] = "; ".join(troubles)
    print(f"  {window} px: first figure after {opened:.2f} s")
    for name, problem in outcomes.items():
        print(f"    {'FAILED' if problem else 'ok'}: {name} {problem}")
    return sum(map(bool, outcomes.values()))


def _draw_all(page: Page) -> None:
    """Scroll through the page, as figures are drawn when they come near; then back to its top."""
    for card in page.query_selector_all(".figure"):
        card.scroll_into_view_if_needed()
        page.wait_for_function("card => card.dataset.drawn", arg=card)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)


def _fits(page: Page, window: int) -> str:
    width = page.evaluate("document.documentElement.scrollWidth")
    return "" if width <= window else f"{width} px wide"


def _drawn(page: Page) -> str:
    """Every figure has a canvas with more than one colour on it."""
    blank = page.evaluate(
        """() => [...document.querySelectorAll('.figure')].filter((card) => {
            const deep = (node) => [...node.querySelectorAll('*')].flatMap((one) =>
                [one, ...(one.shadowRoot ? deep(one.shadowRoot) : [])]);
            return !deep(card).some((one) => {
                if (one.tagName !== 'CANVAS' || !one.width) return false;
                const pixels = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
                return new Set(new Uint32Array(pixels.buffer)).size > 2;
            });
        }).map((card) => card.id)"""
    )
    return ", ".join(blank)


def _controls(page: Page, tree: xr.DataTree) -> str:
    """Each slider and list, moved to its next position, leaves the figure with the values of the result there.

    What is drawn, listed and saved is one set of numbers; here it is read as a reader would, from the csv file.
    """
    wrong, compared = [], 0
    for card in page.query_selector_all(".figure"):
        for index in range(len(card.query_selector_all(_INPUTS))):
            try:
                moved = card.evaluate(_MOVE, {"index": index, "inputs": _INPUTS})
            except PlaywrightError:  # this control went away when another moved
                continue
            page.wait_for_timeout(20)
            count, problem = _compared(_csv_of(card), tree)
            compared += count
            if problem:
                wrong.append(f"{card.get_attribute('id')}, {moved}: {problem}")
    return "; ".join(wrong) if compared or wrong else "nothing compared"


_INPUTS = ".controls input[type=range], .controls select"

# Moves the control of that number to its next position; gives its label.
_MOVE = """(card, {index, inputs}) => {
    const input = card.querySelectorAll(inputs)[index];
    const listed = input.tagName === 'SELECT', size = listed ? input.length : Number(input.max) + 1;
    const next = ((listed ? input.selectedIndex : input.valueAsNumber) + 1) % size;
    listed ? input.selectedIndex = next : input.value = next;
    input.dispatchEvent(new Event(listed ? 'change' : 'input'));
    return input.parentElement.querySelector('label').textContent;
}"""

_VARIABLES = {
    ("theory", "value"): "{}",
    ("theory", "N Var"): "{}_variance",
    ("theory", "shift of the mean b"): "{}_bias",
    ("mean of networks", "value"): "{}_mean",
    ("networks", "N Var"): "{}_n_variance",
}


def _compared(rows: list[dict[str, str]], tree: xr.DataTree) -> tuple[int, str]:
    """How many values were compared with variables of the result, and the first that differs, or nothing."""
    count = 0
    for row in rows[:: max(1, len(rows) // MOST_COMPARED)]:
        half = group(tree, "theory" if row["side"] == "theory" else "ensemble")
        name = _VARIABLES.get((row["side"], row["measure"]), "").format(row["quantity"])
        if half is None or name not in half:
            continue
        variable = half[name]
        place = {dim: _label(variable, dim, row[dim]) for dim in map(str, variable.dims) if row.get(dim)}
        expected = variable.isel({dim: 0 for dim in variable.dims if dim not in place}).sel(
            {dim: label for dim, label in place.items() if dim in variable.coords}
        )
        expected = expected.isel({dim: int(label) for dim, label in place.items() if dim not in variable.coords})
        value = np.float32(row["value"] or "nan")
        count += 1
        # Files have eight digits.
        if not np.isclose(value, np.float32(expected.item()), rtol=3e-7, atol=0, equal_nan=True):
            return count, f"{row} instead of {expected.item()}"
    return count, ""


def _label(variable: xr.DataArray, dim: str, text: str) -> float | str:
    numeric = dim not in variable.coords or variable[dim].dtype.kind in "if"
    return float(text) if numeric else text


def _csv_of(card: Any) -> list[dict[str, str]]:
    """The csv file of a figure, without a download."""
    text = card.evaluate(
        """async (card) => {
            window.silent = true;
            card.querySelector('.buttons button:nth-child(2)').click();
            window.silent = false;
            return await window.given.text();
        }"""
    )
    return list(csv.DictReader(io.StringIO(text)))


# Keeps what is given to the reader, and in silence gives no file.
_GIVEN = """
    const address = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
    URL.createObjectURL = (blob) => { window.given = blob; return address.call(URL, blob); };
    HTMLAnchorElement.prototype.click = function () { if (!window.silent) click.call(this); };
"""


def _download(page: Page, card: Any, button: int) -> bytes:
    """What a button of a figure gives, by its number."""
    with page.expect_download() as download:
        card.query_selector(f".buttons button:nth-child({button})").click()
    actual = Path(download.value.path()).read_bytes()
    page.wait_for_timeout(300)  # browsers stop pages that give many files at once
    return actual


def _keyboard(page: Page) -> str:
    """Tab comes to every link, control, button and fold; the arrow keys move the first slider."""
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    count = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll('a, input, select, button, summary')]
                .filter((one) => one.getClientRects().length);
            all.forEach((one, i) => { one.dataset.stop = i; });
            window.stops = new Set();
            document.addEventListener('focusin', (event) => window.stops.add(event.target.dataset.stop));
            return all.length;
        }"""
    )
    for _ in range(2 * count):
        page.keyboard.press("Tab")
    missed = page.evaluate(
        """() => [...document.querySelectorAll('[data-stop]')].filter((one) => !window.stops.has(one.dataset.stop))
            .map((one) => one.outerHTML.slice(0, 80))"""
    )
    slider = page.query_selector("input[type=range]")
    if slider is not None:
        before = slider.evaluate("one => one.parentElement.querySelector('output').textContent")
        slider.focus()
        page.keyboard.press("ArrowLeft" if slider.evaluate("one => one.valueAsNumber > 0") else "ArrowRight")
        if before == slider.evaluate("one => one.parentElement.querySelector('output').textContent"):
            missed.append("arrow keys do not move a slider")
    return ", ".join(missed)


def _tooltip(page: Page) -> str:
    """The pointer over the middle of a matrix shows its value, the one that the table has."""
    card = page.query_selector(".figure.matrices")
    if card is None:
        return ""
    card.scroll_into_view_if_needed()
    place = card.query_selector(".holder").bounding_box()
    page.mouse.move(place["x"] + 150, place["y"] + 120)
    page.mouse.move(place["x"] + 153, place["y"] + 122)
    page.wait_for_timeout(300)
    texts = [one.text_content() for one in page.locator(".bk-Tooltip").locator("*:not(style)").element_handles()]
    return "" if any("value" in text for text in texts) else f"none among {texts}"


def _files(page: Page) -> str:
    """Every figure gives a picture of some size, and a table with values."""
    wrong = []
    for card in page.query_selector_all(".figure"):
        head = _download(page, card, 1)[:24]
        width, height = struct.unpack(">II", head[16:24])
        if head[:4] != b"\x89PNG" or min(width, height) < 200:
            wrong.append(f"{card.get_attribute('id')}: png {width} x {height}")
        if b"value" not in _download(page, card, 2).splitlines()[0]:
            wrong.append(f"{card.get_attribute('id')}: csv")
    return ", ".join(wrong)


if __name__ == "__main__":
    sys.exit(main())
