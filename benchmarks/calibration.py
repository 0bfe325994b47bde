"""Are stated errors right? `python benchmarks/calibration.py`, about twenty minutes.

The theory of each setting is run with several seeds, everything else the same. Of q, Sigma and b of f and of the
diagonals of K, Phi and G (all layers), at all saved times but the first, two ratios are printed. `scatter`: standard
deviation over seeds (rms over entries) over the stated standard error (likewise). `deviation`: the same with the
deviation from a reference, which is the theory from wider and many more draws; errors that all seeds share, as that
from the next order in 1/n, are in this one. 1 is right. With ten seeds a ratio is known to about a fifth of itself
where entries are strongly correlated; a deviation that all seeds share is one number. Settings are small on purpose:
errors are large and runs short.
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
    "two layers, by itself": (VECTORS, {"kind": "mlp"}, {}, 0.05, {}),
    "deep, by itself": (VECTORS, {"kind": "deep", "depth": 3}, {}, 0.05, {}),
    "convolutional, by itself": (IMAGES, IMAGE_NETWORK, {}, 0.5, {}),
    "lazy, by itself": (
        VECTORS,
        {"kind": "deep", "depth": 2},
        {"parameterization": {"kind": "neural_tangent"}},
        0.05,
        {},
    ),
    "two layers, draws": (VECTORS, {"kind": "mlp"}, {}, 0.05, {"neurons": 1024, "draws": 1024, "draw_width": 8}),
    "deep": (VECTORS, {"kind": "deep", "depth": 3}, {}, 0.05, {"neurons": 1024, "draws": 1024, "draw_width": 16}),
    "relu": (
        VECTORS,
        {"kind": "deep", "depth": 2, "activation": "relu"},
        {},
        0.05,
        {"neurons": 1024, "draws": 1024, "draw_width": 16},
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

REFERENCES: dict[str, dict[str, Any]] = {
    "mlp": {"neurons": 16384},
    "deep": {"neurons": 16384, "draws": 8192, "draw_width": 64},
    "cnn": {"neurons": 8192, "draws": 4096, "draw_width": 32},
}
"""Theory of the references, by architecture; linear response for two layers."""

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

        def run(settings: dict[str, Any], seed: int) -> xr.DataTree:
            # Errors are reached where these numbers put them.
            settings = settings | {"seed": seed, "save_every": 5, "covariance": False, "replicates": 4}
            return fwdmft.run(fwdmft.load_experiment(mapping | {"theory": settings}, base=folder))

        began, computed = time.process_time(), [run(theory, seed) for seed in range(seeds)]
        closer = {"relative_error": theory.get("relative_error", 0.02)} | REFERENCES[architecture["kind"]]
        reference = run(closer, seeds)
    scatters, deviations = [], []
    for pattern in QUANTITIES.values():
        for observable, taken in OBSERVABLES.values():
            key = pattern.format(observable)

            def of(results: list[xr.DataTree], end: str, key: str = key, taken: str = taken) -> np.ndarray:
                return np.stack([entries(each["theory"], key + end, taken) for each in results])

            values, stated = of(computed, ""), of(computed, "_standard_error")
            known, error = of([reference], ""), of([reference], "_standard_error")
            cell = f"({100 * rms(stated) / rms(values):.2g} %)"
            scatters.append(f"{rms(values.std(axis=0, ddof=1)) / rms(stated):5.2f} {cell}")
            deviations.append(f"{rms(values - known) / np.hypot(rms(stated), rms(error)):5.2f}")
    check = rms(np.array([float(each["diagnostics"].get("self_check", np.nan)) for each in computed]))
    seconds = time.process_time() - began
    print(f"{name:23s}{'scatter':11s}{''.join(a.ljust(15) for a in scatters)}{check:5.2f}{seconds:8.0f}")
    print(f"{'':23s}{'deviation':11s}{''.join(a.ljust(15) for a in deviations)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=SETTINGS)
    a = parser.parse_args()
    heads = "".join(f"{q} of {o}".ljust(15) for q in QUANTITIES for o in OBSERVABLES)
    print("over the stated error (stated error over the rms); self-check, processor seconds")
    print(f"{'':34s}{heads}")
    for name in [a.only] if a.only else SETTINGS:
        calibration(name, a.seeds)


if __name__ == "__main__":
    main()
