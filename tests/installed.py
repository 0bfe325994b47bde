"""The package as it is installed: architectures run, are written, read, drawn and reported. Run by `versions.py`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import files, metadata
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fwdmft
from fwdmft.registry import registry

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "activation": "tanh"},
    "deep": {"kind": "deep", "depth": 2, "activation": "erf"},
    "cnn": {"kind": "cnn", "depth": 1, "activation": "relu"},
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tiny_run(kind: str, tmp_path: Path) -> None:
    experiment = {
        "name": kind,
        "architecture": ARCHITECTURES[kind],
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 3},
        "data": {"kind": "digits", "train": 2, "test": 1, "resolution": 2},
        "theory": {"neurons": 128, "replicates": 2, "draws": 64, "draw_width": 8},
        "ensemble": {"widths": [4, 8], "members": 6, "samples": 2},
    }
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    result = command("run", "experiment.yaml", "-o", "result.nc", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    tree = fwdmft.open_result(tmp_path / "result.nc")
    page = command("report", "result.nc", "-o", "page.html", cwd=tmp_path)
    assert page.returncode == 0 and "class Card" in (tmp_path / "page.html").read_text(), page.stderr
    for name in ("theory/prediction_variance", "theory/tangent_kernel_bias", "ensemble/prediction_mean"):
        assert np.isfinite(tree[name]).all()
    assert tree["theory/prediction"].sel(point_split="train").sizes["point"] == 2
    drawn = fwdmft.plot(tree, tmp_path / "figures")
    assert "loss.png" in [path.name for path in drawn]


def test_sweep(tmp_path: Path) -> None:
    base = {
        "architecture": {"kind": "mlp"},
        "parameterization": {"kind": "mean_field"},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 2},
        "data": {"kind": "digits", "train": 2, "test": 1, "resolution": 2},
        "ensemble": {"widths": [4], "members": 4, "samples": 0},
    }
    sweep = {"name": "sweep", "base": base, "over": {"parameterization.gamma0": [0.5, 1.0]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    result = command("sweep", "sweep.yaml", "-o", "points", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    loss = fwdmft.open_sweep(tmp_path / "points")["ensemble/loss_mean"]
    assert loss.sizes["gamma0"] == 2 and np.isfinite(loss).all()


def test_help_and_messages(tmp_path: Path) -> None:
    """Old releases of typer print a traceback, or exit with 1, beside a new click."""
    assert command("run", "--help", cwd=tmp_path).returncode == 0
    assert command("run", cwd=tmp_path).returncode == 2
    refused = command("run", "missing.yaml", "-o", "result.nc", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith("experiment: got 'missing.yaml'")


def test_annotations_are_visible_and_the_license_is_there() -> None:
    for package in ("fwdmft", *(f"fwdmft_{kind}" for kind in registry().kinds("architecture"))):
        assert resources(package).joinpath("py.typed").is_file()
    assert metadata("fwdmft")["License-Expression"] == "MIT"
    installed = [str(path) for path in files("fwdmft") or ()]
    assert any(path.endswith("LICENSE") for path in installed)
    assert not any(path.startswith(("tests", "benchmarks", "docs", "examples")) for path in installed)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as a user starts it."""
    script = "from fwdmft.cli import main; main()"
    return subprocess.run([sys.executable, "-P", "-c", script, *words], cwd=cwd, capture_output=True, text=True)
