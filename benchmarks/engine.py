"""The engine on the benchmark's setting, through fwdmft's public interface only.

Run as a script it writes the compared curves to an .npz file, so that a fresh process carries the whole cost:
imports, compilation, mean field, fluctuations and bias.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from finite_networks import two_points


def experiment(
    x: np.ndarray,
    y: np.ndarray,
    train: int,
    folder: Path,
    *,
    scale: float,
    gamma0: float,
    eta: float,
    steps: int,
    theory: dict[str, Any],
) -> dict[str, Any]:
    """The experiment as a mapping; its data (the first `train` rows are the training set) go to a file in `folder`."""
    np.savez(folder / "points.npz", x=x, y=y, train=train)
    return {
        "name": "benchmark",
        "architecture": {"kind": "mlp", "activation": "tanh", "scale": scale},
        "parameterization": {"kind": "mean_field", "gamma0": gamma0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": eta, "steps": steps},
        "loss": {"kind": "squared_error", "reduction": "sum"},
        "data": {"kind": "file", "path": "points.npz"},
        "theory": theory,
    }


def curves(theory: Any) -> dict[str, np.ndarray]:
    """f, f_test, kernel, their N Var and their bias, each (T,), from the result's `theory` group."""
    point = {"output": 0, "output_prime": 0}
    found: dict[str, np.ndarray] = {}
    for suffix, prefix in (("", ""), ("_variance", "variance_"), ("_bias", "bias_")):
        f = theory[f"prediction{suffix}"].isel(output=0)
        found[f"{prefix}f"], found[f"{prefix}f_test"] = f.isel(point=0).values, f.isel(point=1).values
        kernel = theory[f"tangent_kernel{suffix}"].isel(point=0, point_prime=0, **point)
        found[f"{prefix}kernel"] = kernel.values
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="fwdmft on the benchmark's two-layer setting.")
    parser.add_argument("save", type=Path, help="the .npz file to write")
    for name in ("phi-scale", "gamma0", "eta", "phi0", "y"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--neurons", type=int, default=16_384)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()

    import fwdmft

    x, y = two_points(a.phi0), np.array([[a.y], [a.y]])
    theory = {"neurons": a.neurons, "seed": a.seed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mapping = experiment(
            x, y, 1, folder, scale=a.phi_scale, gamma0=a.gamma0, eta=a.eta, steps=a.steps, theory=theory
        )
        result = fwdmft.run(fwdmft.load_experiment(mapping, base=folder))
    np.savez(a.save, **curves(result["theory"]))


if __name__ == "__main__":
    main()
