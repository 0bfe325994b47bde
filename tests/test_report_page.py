"""The page of `fwdmft report`: its numbers are the result's, nothing is fetched, it is small and complete.

What a browser makes of it is checked by `browser_check.py`, which needs one.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import result_stand_ins
import xarray as xr
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.observables import Observable
from fwdmft.reporting.family import Curve, Family, Measure, arrays
from fwdmft.reporting.library import bokeh_scripts
from fwdmft.reporting.page import as_json, families, figure_data
from fwdmft.reporting.spectra import eigenvalues
from fwdmft.reporting.thinning import thinned
from fwdmft.reporting.words import plain
from fwdmft.results.comparison import at_common_points, mean_residual
from fwdmft.results.write import write_result
from fwdmft.sweeping.manifest import Manifest, write_manifest

RESULT = result_stand_ins.tree(outputs=2)
DATA = figure_data(RESULT)


def numbers(index: int, data: dict[str, Any] = DATA) -> xr.DataArray:
    """An array of the page, decoded as its scripts do it."""
    one = data["arrays"][index]
    values = np.frombuffer(base64.b64decode(one["values"]), "<f4").reshape(one["shape"])
    labels = {dim: data["labels"][key] for dim, key in zip(one["dims"], one["labels"], strict=True)}
    return xr.DataArray(values, labels, one["dims"])


def curve(family: str, measure: str, look: str, data: dict[str, Any] = DATA) -> dict[str, Any]:
    actual = {one["key"]: {each["name"]: each for each in one["measures"]} for one in data["families"]}
    return next(one for one in actual[family][measure]["curves"] if one["look"] == look)


def data_in(page: str) -> dict[str, Any]:
    actual = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)
    assert actual
    return json.loads(actual[1])


THEORY, ENSEMBLE = (RESULT[name].to_dataset() for name in ("theory", "ensemble"))
WIDTH = ENSEMBLE.width
EXPECTED = {
    ("prediction", "value", "theory"): (THEORY["prediction"], THEORY["prediction_standard_error"]),
    ("prediction", "N Var", "theory"): (THEORY["prediction_variance"], THEORY["prediction_variance_standard_error"]),
    ("prediction", "value", "networks"): (ENSEMBLE["prediction_mean"], ENSEMBLE["prediction_mean_standard_error"]),
    ("tangent_kernel", "N Var", "networks"): (
        WIDTH * ENSEMBLE["tangent_kernel_variance"],
        WIDTH * ENSEMBLE["tangent_kernel_variance_standard_error"],
    ),
    ("tangent_kernel", "shift of the mean b", "networks"): (
        WIDTH * (ENSEMBLE["tangent_kernel_mean"] - THEORY["tangent_kernel"]),
        WIDTH * np.hypot(ENSEMBLE["tangent_kernel_mean_standard_error"], THEORY["tangent_kernel_standard_error"]),
    ),
    ("feature_kernel", "shift of the mean b", "theory"): (
        THEORY["feature_kernel_bias"],
        THEORY["feature_kernel_bias_standard_error"],
    ),
    ("gradient_kernel", "value", "theory"): (THEORY["gradient_kernel"], THEORY["gradient_kernel_standard_error"]),
    ("feature_kernel", "alignment with the targets", "theory"): (THEORY["feature_kernel_alignment"], None),
    ("loss", "loss", "theory"): (THEORY["loss"], None),
    ("loss", "loss", "networks"): (ENSEMBLE["loss_mean"], ENSEMBLE["loss_mean_standard_error"]),
    ("loss", "loss", "averaged"): (ENSEMBLE["ensembled_loss"], None),
    ("accuracy", "value", "networks"): (ENSEMBLE["accuracy_mean"], ENSEMBLE["accuracy_mean_standard_error"]),
    ("feature_kernel_two_time", "value", "theory"): (THEORY["feature_kernel_two_time"], None),
    ("layer_covariance", "value", "theory"): (THEORY["layer_covariance"], None),
}


@pytest.mark.parametrize("what", EXPECTED, ids=" ".join)
def test_numbers_are_those_of_the_result(what: tuple[str, str, str]) -> None:
    """To single precision, at every label that the page kept."""
    actual = curve(*what)
    for index, expected in zip((actual["value"], actual["error"]), EXPECTED[what], strict=True):
        if expected is not None:
            shown = numbers(index)
            labelled = expected.assign_coords(
                {d: np.arange(n) for d, n in expected.sizes.items() if d not in expected.coords}
            )
            there = labelled.transpose(*shown.dims).sel({dim: shown[dim].values for dim in shown.dims})
            assert shown.values.tobytes() == there.values.astype("<f4").tobytes()


def test_differences_are_in_standard_errors() -> None:
    shown = numbers(curve("prediction", "difference of mean, in s.e.", "networks")["value"])
    residual = mean_residual(THEORY, ENSEMBLE, "prediction")
    expected = (residual.value / residual.error).where(residual.error > 1e-9).transpose(*shown.dims)
    np.testing.assert_array_equal(shown.values, expected.values.astype(np.float32))
    assert np.isnan(shown.sel(time=0)).all()  # f(0) = 0 cannot differ


def test_eigenvalues_are_those_over_training_points() -> None:
    shown = numbers(curve("spectra", "K", "theory")["value"])
    kernel = THEORY["tangent_kernel"].sel(time=20).isel(point=range(4), point_prime=range(4)).values.reshape(8, 8)
    expected = sorted(np.linalg.eigvals(kernel).real, reverse=True)
    np.testing.assert_allclose(shown.sel(time=20).values, expected[: shown.sizes["rank"]], rtol=1e-5)
    broken = xr.DataArray([[np.nan, 0], [0, 1]], dims=("point", "point_prime"))
    assert np.isnan(eigenvalues(broken)).all()
    assert eigenvalues(broken.assign_coords(point_split=("point", ["test", "test"]))) is None


def test_attention_is_shown_between_tokens() -> None:
    dims = ("block", "time", "point", "token", "token_prime")
    theory = RESULT["theory"].to_dataset()
    theory["attention"] = dims, np.random.default_rng(1).random((1, 21, 6, 3, 3)), {"symbol": "a"}
    tree = xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs=RESULT.attrs), "data": RESULT["data"].to_dataset(), "theory": theory}
    )
    family = next(one for one in families(tree) if one.key == "attention")
    assert family.pairs == (("token", "token_prime"),) and family.curves
    np.testing.assert_array_equal(family.measures[0].curves[0].value, theory["attention"])


def test_declared_observables_have_their_words() -> None:
    declared = {"overlap": Observable("overlap with the teacher", "m", ("point",))}
    of = result_stand_ins.theory()
    of.mean["overlap"], of.dims["overlap"] = np.ones((21, 6)), ("point",)
    tree = result_stand_ins.tree(of=of, networks=[], observables=declared)
    assert any(one.key == "overlap" and "m" in one.title for one in families(tree))


def test_kernels_between_some_points() -> None:
    """Where a side has kernels between some points only, both are shown there, under the points' own numbers."""
    some = xr.Dataset(coords={"kernel_point": [0, 3], "kernel_point_prime": [0, 3]})
    ensemble = at_common_points(some, ENSEMBLE)[1]
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=RESULT.attrs), "theory": THEORY, "ensemble": ensemble})
    actual = {one.key: one for one in families(tree)}
    assert "tangent_kernel" not in actual
    family = actual["subset_tangent_kernel"]
    assert family.pairs[0] == ("kernel_point", "kernel_point_prime") and "some points" in family.title
    theory, networks = (one.value for one in family.measures[0].curves)
    assert theory.kernel_point.values.tolist() == networks.kernel_point.values.tolist() == [0, 3]
    np.testing.assert_array_equal(theory, THEORY["tangent_kernel"].isel(point=[0, 3], point_prime=[0, 3]))
    spectrum = actual["spectra"].measures[0].curves[0].value
    assert spectrum.sizes["rank"] == 2 * 2  # points times outputs
    np.testing.assert_allclose(spectrum.sum("rank"), np.einsum("tpcpc->t", theory))


def test_sweep(tmp_path: Path) -> None:
    """Its fields are dimensions; a point that is missing is NaN, and the page names all values."""
    for file in ("a.nc", "c.nc"):
        write_result(result_stand_ins.tree(of=result_stand_ins.theory(two_time=False)), tmp_path / file)
    axes: list[Any] = [{"parameterization.gamma0": [0.5, 1, 2]}]
    write_manifest(Manifest("grid", "", axes, ["a.nc", "b.nc", "c.nc"]), tmp_path)
    tree = fwdmft.open_sweep(tmp_path)
    page = fwdmft.report(tmp_path, tmp_path / "grid.html").read_text(encoding="utf-8")
    data = data_in(page)
    assert data["swept"] == ["gamma0"] and data["dimensions"]["gamma0"] == "richness γ₀"
    shown = numbers(curve("prediction", "value", "networks", data)["value"], data)
    expected = tree["ensemble/prediction_mean"].transpose(*shown.dims).values
    np.testing.assert_array_equal(shown.values, expected.astype(np.float32))
    assert shown.gamma0.values.tolist() == [0.5, 1, 2] and np.isnan(shown.sel(gamma0=1)).all()
    assert "<li>deep tanh, L = 2</li>" in page and "<li>γ₀ = 0.5, 1, 2</li>" in page


@pytest.mark.parametrize("half", ["theory", "ensemble"])
def test_halves_alone(half: str) -> None:
    parts: dict[str, Any] = {"networks": []} if half == "theory" else {"of": None}
    tree = result_stand_ins.tree(**parts)
    looks = {curve.look for family in families(tree) for measure in family.measures for curve in measure.curves}
    assert "theory" in looks if half == "theory" else looks == {"networks", "averaged"}


# --- size ---


def of_size(times: int, points: int) -> Family:
    labels = {"time": np.arange(times) * 3, "point": np.arange(points), "point_prime": np.arange(points)}
    random = np.random.default_rng(times).random((times, points, points))
    one = xr.DataArray(random, labels, ("time", "point", "point_prime"))
    measures = (Measure("value", "K", (Curve("theory", "theory", one), Curve("networks", "networks", 2 * one))),)
    return Family(f"{times}", "K", "K", "", measures)


def test_many_numbers_are_thinned_evenly_and_said() -> None:
    large, small = thinned([of_size(200, 40), of_size(4, 3)], most=30_000)
    assert sum(one.size for one in arrays(large)) + sum(one.size for one in arrays(small)) <= 30_000
    assert small == small._replace(text="") and arrays(small)[0].shape == (4, 3, 3)  # what is small stays whole
    value = arrays(large)[0]
    times, points = value["time"].values, value["point"].values
    assert f"{len(times)} of 200 times, {len(points)} of 40 points" in large.text
    for labels, last in ((times, 597), (points, 39)):
        assert labels[0] == 0 and labels[-1] == last and np.ptp(np.diff(labels)) <= 3
    assert (points == value["point_prime"].values).all()
    whole = arrays(of_size(200, 40))[0].sel(time=times, point=points, point_prime=points)
    np.testing.assert_array_equal(value, whole)


def test_both_sides_keep_the_same_times() -> None:
    """A side with fewer times decides: thinning chooses among times that both have."""
    one = of_size(200, 10)
    value = one.measures[0].curves[0].value
    fewer = one.measures[0].curves[1]._replace(value=value.isel(time=slice(0, None, 7)))
    both = one._replace(measures=(one.measures[0]._replace(curves=(one.measures[0].curves[0], fewer)),))
    left, right = arrays(thinned([both], most=4_000)[0])
    assert left["time"].values.tolist() == right["time"].values.tolist()


# --- the page ---


class Reader(HTMLParser):
    """Elements with their attributes, ids, and what stands in scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fwdmft.report(RESULT, tmp_path_factory.mktemp("page") / "report.html")


def test_page_is_whole_and_small(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert written.stat().st_size < 5_000_000
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    for words in (
        "Stand-in of a result",
        "γ₀ = 0.75",
        "N = 64, 256, 1024",
        "4 training and 2 test points",
        "rms near 1",
    ):
        assert words in reader.text
    assert data_in(text) == json.loads(as_json(DATA))


def test_nothing_is_fetched(written: Path) -> None:
    """No address in what we write, and a policy by which browsers refuse whatever the library might ask for."""
    text = written.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src 'none'" in policy[1] and "http" not in policy[1] and "connect-src" not in policy[1]
    own = text
    for script in bokeh_scripts():
        assert script.replace("</script", "<\\/script") in own
        own = own.replace(script.replace("</script", "<\\/script"), "")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"')]+", own) == []


def test_a_browser_draws_every_figure(written: Path) -> None:
    """In Chromium, where it is installed (Debian: chromium), without an error in its console. What moves and what is
    pressed is for `browser_check.py`."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    window = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,20000", "--virtual-time-budget=20000"]
    words = [browser, *window, "--enable-logging=stderr", "--dump-dom", written.as_uri()]
    seen = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    figures = re.findall(r'<section class="card figure[^>]*>', seen.stdout)
    assert figures and all("data-drawn=" in figure for figure in figures)
    assert not re.findall(r"(?:ERROR|WARNING):CONSOLE.*", seen.stderr)


def test_text_of_a_result_stays_text(tmp_path: Path) -> None:
    tree = result_stand_ins.tree()
    tree.attrs["title"] = "</script><script>alert('a')</script> {{DATA}} & <b>"
    page = fwdmft.report(tree, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<b>" not in page.replace("<b>Means</b>", "").split("<nav")[0]


def test_command(tmp_path: Path) -> None:
    write_result(RESULT, tmp_path / "r.nc")
    page = tmp_path / "r.html"
    for _ in range(2):  # the second replaces the first
        done = CliRunner().invoke(app, ["report", str(tmp_path / "r.nc"), "-o", str(page)])
        assert done.exit_code == 0 and done.stdout.strip() == str(page), done.output
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    for result, output in ((tmp_path / "r.nc", other), (other, tmp_path / "n.html"), (tmp_path / "no.nc", page)):
        before = page.read_bytes()
        refused = CliRunner().invoke(app, ["report", str(result), "-o", str(output)])
        assert refused.exit_code == 2 and "Traceback" not in refused.output
        assert other.read_text() == "mine" and page.read_bytes() == before and not (tmp_path / "n.html").exists()


def test_without_bokeh_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh.resources", None)
    with pytest.raises(fwdmft.InputError, match=r"bokeh is not installed.*pip install 'fwdmft\[report\]'"):
        fwdmft.report(RESULT, tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\Phi^{\ell}", "Φˡ"),
        (r"N\,\mathrm{Var}\,f", "N Var f"),
        (r"\lambda_0[\Omega]", "λ₀[Ω]"),
        (r"$\gamma_0 = N^{-1/2}$", "γ₀ = 1/√N"),
        (r"f / \sqrt{N\,\mathrm{Var}\,f}", "f / √(N Var f)"),
    ],
)
def test_symbols_are_text(latex: str, text: str) -> None:
    assert plain(latex) == text
