"""Are stated errors right? Scatter over seeds, over the standard error: `python benchmarks/calibration.py`.

The theory of each setting is run with several seeds, everything else the same. Of q, Sigma and b of f and of the
diagonals of K, Phi and G (all layers), at all saved times but the first, the standard deviation over seeds
(rms over entries) is divided by the stated standard error (likewise). 1 is right; with ten seeds a ratio is known to
about a fifth of itself where entries are strongly correlated. Settings are small on purpose: errors are large and runs
short.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import fwdmft

RNG = np.random.default_rng(5)
VECTORS, IMAGES = RNG.standard_normal((4, 8)), RNG.standard_normal((3, 4, 4, 1))
Y = np.array([1.0, -1.0, 0.5, 0.3])
IMAGE_NETWORK = {"kind": "cnn", "depth": 2, "activation": "tanh", "padding": "circular", "readout": "global_average"}
SETTINGS: dict[str, tuple[np.ndarray, dict[str, Any], dict[str, Any], float, dict[str, Any]]] = {
    "two layers": (VECTORS, {"kind": "mlp"}, {}, 0.05, {"neurons": 512}),
    "two layers, draws": (VECTORS, {"kind": "mlp"}, {}, 0.05, {"neurons": 1024, "draws": 1024, "draw_width": 8}),
    "deep": (VECTORS, {"kind": "deep", "depth": 3}, {}, 0.05, {"neurons": 1024, "draws": 1024, "draw_width": 16}),
    "deep, control variates": (
        VECTORS,
        {"kind": "deep", "depth": 3},
        {},
        0.05,
        {"neurons": 1024, "draws": 1024, "draw_width": 16, "relative_error": 0.01},
    ),
    "relu": (
        VECTORS,
        {"kind": "deep", "depth": 2, "activation": "relu"},
        {},
        0.05,
        {"neurons": 1024, "draws": 1024, "draw_width": 16},
    ),
    "relu, control variates": (
        VECTORS,
        {"kind": "deep", "depth": 2, "activation": "relu"},
        {},
        0.05,
        {"neurons": 1024, "draws": 1024, "draw_width": 16, "relative_error": 0.01},
    ),
    "convolutional": (IMAGES, IMAGE_NETWORK, {}, 0.5, {"neurons": 1024, "draws": 512, "draw_width": 8}),
    "lazy": (
        VECTORS,
        {"kind": "deep", "depth": 2},
        {"parameterization": {"kind": "neural_tangent"}},
        0.05,
        {"neurons": 1024, "draws": 1024, "draw_width": 16},
    ),
}
"""Points, architecture, further sections, learning rate, theory."""

QUANTITIES = {"q": "{}", "Sigma": "{}_variance", "b": "{}_bias"}

OBSERVABLES = {
    "f": ("prediction", "tpc->tpc"),
    "K": ("tangent_kernel", "tpcpc->tpc"),
    "Phi": ("feature_kernel", "tlpp->tlp"),
    "G": ("gradient_kernel", "tlpcpc->tlpc"),
}
"""Names in results, and which entries are taken of them."""


def entries(theory: xr.DataTree, name: str, taken: str) -> np.ndarray:
    """Of an observable at t > 0."""
    layer_first = theory[name].dims[0] == "layer"
    values = np.moveaxis(theory[name].values, 0, 1) if layer_first else theory[name].values
    return np.einsum(taken, values[1:])


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a))))


def calibration(name: str, seeds: int) -> None:
    x, architecture, sections, rate, theory = SETTINGS[name]
    count = len(x)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "points.npz", x=x, y=Y[:count, None], train=count - 1)
        mapping = {
            "name": "calibration",
            "architecture": architecture,
            "optimizer": {"kind": "gradient_descent", "learning_rate": rate, "steps": 20},
            "data": {"kind": "file", "path": "points.npz"},
            **sections,
        }
        began, computed = time.process_time(), []
        for seed in range(seeds):
            # Errors are reached where these numbers put them.
            settings = theory | {"seed": seed, "save_every": 5, "covariance": False, "replicates": 4}
            experiment = fwdmft.load_experiment(mapping | {"theory": settings}, base=folder)
            computed.append(fwdmft.run(experiment))
    ratios, errors, checks = [], [], [float(each["diagnostics"].get("self_check", np.nan)) for each in computed]
    for pattern in QUANTITIES.values():
        for observable, taken in OBSERVABLES.values():
            key = pattern.format(observable)
            values, stated = (
                np.stack([entries(each["theory"], key + end, taken) for each in computed])
                for end in ("", "_standard_error")
            )
            ratios.append(rms(values.std(axis=0, ddof=1)) / rms(stated))
            errors.append(rms(stated) / rms(values))
    cells = "".join(
        f"{ratio:5.2f} ({100 * error:.2g} %)".ljust(15) for ratio, error in zip(ratios, errors, strict=True)
    )
    print(f"{name:23s}{cells}{rms(np.array(checks)):5.2f}{time.process_time() - began:8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=SETTINGS)
    a = parser.parse_args()
    heads = "".join(f"{q} of {o}".ljust(15) for q in QUANTITIES for o in OBSERVABLES)
    print(f"scatter / stated error (stated error over the rms), self-check, processor seconds\n{'':23s}{heads}")
    for name in [a.only] if a.only else SETTINGS:
        calibration(name, a.seeds)


if __name__ == "__main__":
    main()
