"""The gallery of the paper: every file is valid at both sizes, an entry runs, and its closed forms hold."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fwdmft
from fwdmft.sweeping.points import points
from fwdmft.sweeping.spec import Sweep
from fwdmft.testing.agreement import Estimate, assert_zero

PAPER = Path(__file__).parent.parent / "examples" / "paper"
sys.path.insert(0, str(PAPER))

import entry  # noqa: E402
import linear_network  # noqa: E402
import make  # noqa: E402
import relu_angle  # noqa: E402

MODULES = [make.entry_module(number) for number in make.ENTRIES]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_files_of_an_entry_are_valid(module: ModuleType) -> None:
    assert set(module.QUICK) == set(module.FILES)
    for stem in module.FILES:
        for changes in ({}, module.QUICK[stem]):
            loaded = entry.load(stem, changes)
            assert not isinstance(loaded, Sweep) or points(loaded)


def test_every_file_belongs_to_an_entry() -> None:
    assert {path.stem for path in PAPER.glob("*.yaml")} == {stem for module in MODULES for stem in module.FILES}


def test_an_entry_from_files_to_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make.make(3, tmp_path, quick=True)
    assert {path.name for path in tmp_path.glob("*.png")} == {"03_lazy.png", "03_relu_angle.png"}
    said = (tmp_path / "03_numbers.md").read_text()
    assert "| 03_lazy | prediction |" in said and "without factors of cos(theta)" in said
    before = (tmp_path / "03_lazy.nc").stat().st_mtime_ns
    make.compute(entry.Results(tmp_path, make.entry_module(3).QUICK), "03_lazy", jobs=1)
    assert (tmp_path / "03_lazy.nc").stat().st_mtime_ns == before
    with pytest.raises(fwdmft.InputError, match="without results of other sizes"):
        make.compute(entry.Results(tmp_path, {}), "03_lazy", jobs=1)


@pytest.mark.parametrize("case", [13, 6, 8, 11, 12, 1, 9, 10, 5, 2, 7, 4])  # longest first; 3 is the test above
def test_entries_are_made_at_small_sizes(case: int, sweeps_here: None, tmp_path: Path) -> None:
    make.make(case, tmp_path, quick=True)
    said = (tmp_path / f"{case:02}_numbers.md").read_text()
    assert said.strip() and "nan" not in said
    assert list(tmp_path.glob(f"{case:02}_*.png"))


def test_linear_recursion_is_a_network() -> None:
    """One network of two points, trained by hand, whose start is given to the recursion."""
    gamma0, eta, steps, width = 1.5, 0.05, 8, 6
    random, y = np.random.default_rng(0), np.array([1.0, -0.5])
    h, w = random.standard_normal((2, width)), random.standard_normal(width)
    start = np.concatenate([gamma0 * h @ w, (h @ h.T)[np.triu_indices(2)], [w @ w]]) / width
    origin, collected = h @ w / (gamma0 * width), []
    for _ in range(steps):
        f = h @ w / (gamma0 * width) - origin
        collected.append(f)
        h, w = h + eta * gamma0 * np.outer(y - f, w), w + eta * gamma0 * (y - f) @ h
    expected = linear_network.trajectory(start, y, gamma0**2, eta, steps)["prediction"]
    np.testing.assert_allclose(expected, collected, rtol=1e-4, atol=1e-5)


def test_variance_of_the_relu_kernel() -> None:
    measured = relu_angle.measure(width=16, members=4000, angles=5)
    for kernel, expected in relu_angle.closed_form(measured.angle.values).items():
        values, error = (each.sel(kernel=kernel).values for each in (measured.variance, measured.error))
        assert_zero(kernel, Estimate.of(values - expected, error, 4000), 1.0)
