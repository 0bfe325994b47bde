"""c / b of E q_n = q + b / n + c / n^2, from draws alone: `python benchmarks/next_order.py` (`--only NAME`).

Differences of widths n and r n say of b

    b + (1 + 1 / r) c / n        up to 1 / n^2

(`fwdmft.corrections.next_order`), so what they say at n = 8 less what they say at n = 16 is (1 + 1 / r) (1/8 - 1/16) c.
Printed are c and its standard error over b, all root mean squares over entries, for every observable. What noise
explains is taken off the squares.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import fwdmft
from fwdmft.corrections.finite_width import FiniteWidth
from fwdmft.corrections.from_draws import drawn
from fwdmft.corrections.sample_estimates import STEP
from fwdmft.corrections.samples import PARTS
from fwdmft.preparing import prepare

WIDTHS = (8, 16)
LEVER = (1 + 1 / PARTS) * (1 / WIDTHS[0] - 1 / WIDTHS[1])
RNG = np.random.default_rng(5)
VECTORS, IMAGES = RNG.standard_normal((3, 8)), RNG.standard_normal((3, 4, 4, 1))
Y = np.array([[1.0], [-1.0], [0.5]])
IMAGE_NETWORK = {"kind": "cnn", "depth": 2, "activation": "tanh", "padding": "circular", "readout": "global_average"}


class Setting(NamedTuple):
    architecture: dict[str, Any]
    gamma0: float
    draws: int
    x: np.ndarray = VECTORS
    learning_rate: float = 0.05


SETTINGS = {
    "two layers, gamma0 .5": Setting({"kind": "mlp"}, 0.5, 16384),
    "two layers": Setting({"kind": "mlp"}, 1.0, 16384),
    "two layers, gamma0 2": Setting({"kind": "mlp"}, 2.0, 16384),
    "two layers, ReLU": Setting({"kind": "mlp", "activation": "relu"}, 1.0, 16384),
    "depth 2, ReLU": Setting({"kind": "deep", "depth": 2, "activation": "relu"}, 1.0, 12288),
    "depth 3": Setting({"kind": "deep", "depth": 3}, 1.0, 12288),
    "depth 3, gamma0 2": Setting({"kind": "deep", "depth": 3}, 2.0, 12288),
    "cnn": Setting(IMAGE_NETWORK, 1.0, 6144, IMAGES, 0.5),
}


def at_width(setting: Setting, width: int) -> FiniteWidth:
    """Draws of this width, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "points.npz", x=setting.x, y=Y, train=2)
        mapping = {
            "name": "next order",
            "architecture": setting.architecture,
            "parameterization": {"kind": "mean_field", "gamma0": setting.gamma0},
            "optimizer": {"kind": "gradient_descent", "learning_rate": setting.learning_rate, "steps": 40},
            "data": {"kind": "file", "path": "points.npz"},
            "theory": {"draws": setting.draws, "draw_width": width, "save_every": 10, "covariance": False},
        }
        task = prepare(fwdmft.load_experiment(mapping, base=folder)).theory
    assert task is not None
    with jax.enable_x64(True):
        return drawn(task, None, lambda *_: None, None)


def rms(a: np.ndarray, noise: np.ndarray | float = 0.0) -> float:
    """Without what noise of this size explains."""
    return float(np.sqrt(max(np.mean(np.square(a)) - np.mean(np.square(noise)), 0.0)))


def report(name: str) -> None:
    began, both = time.process_time(), [at_width(SETTINGS[name], width) for width in WIDTHS]
    # Of every group of draws: (group, observable).
    said = [-STEP * computed.width * computed.estimates.change for computed in both]
    values, errors = ([f(a) for a in said] for f in (mean, error))
    cells = []
    for observable, where in both[0].layout.slices.items():
        b = rms(values[1][where], errors[1][where])
        noise = np.hypot(errors[0][where], errors[1][where]) / LEVER
        if b > 0:
            c = rms((values[0][where] - values[1][where]) / LEVER, noise)
            cells.append(f"{observable} {c / b:.2f} +- {rms(noise) / b:.2f}")
    print(f"{name:22s}{', '.join(cells)} ({time.process_time() - began:.0f} s)", flush=True)


def mean(groups: np.ndarray) -> np.ndarray:
    return groups.mean(axis=0)


def error(groups: np.ndarray) -> np.ndarray:
    return groups.std(axis=0, ddof=1) / len(groups) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=SETTINGS)
    a = parser.parse_args()
    for name in [a.only] if a.only else SETTINGS:
        report(name)


if __name__ == "__main__":
    main()
