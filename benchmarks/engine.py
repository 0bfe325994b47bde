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


def experiment(setting: dict[str, float], steps: int, theory: dict[str, Any]) -> dict[str, Any]:
    """A two-layer tanh experiment as a mapping; `setting` has phi_scale, gamma0 and eta, data are
    points.npz."""
    return {
        "name": "benchmark",
        "architecture": {"kind": "mlp", "activation": "tanh", "scale": setting["phi_scale"]},
        "parameterization": {"kind": "mean_field", "gamma0": setting["gamma0"]},
        "optimizer": {"kind": "gradient_descent", "learning_rate": setting["eta"], "steps": steps},
        "loss": {"kind": "squared_error", "reduction": "sum"},
        "data": {"kind": "file", "path": "points.npz"},
        "theory": theory,
    }


def curves(theory: Any) -> dict[str, np.ndarray]:
    """f, f_test and kernel with their N Var (variance_*) and bias (bias_*), each (T,), of the `theory`
    group."""
    computed: dict[str, np.ndarray] = {}
    for suffix, prefix in (("", ""), ("_variance", "variance_"), ("_bias", "bias_")):
        f = theory[f"prediction{suffix}"].isel(output=0)
        kernel = theory[f"tangent_kernel{suffix}"].isel(point=0, output=0, point_prime=0, output_prime=0)
        computed[f"{prefix}f"] = f.isel(point=0).values
        computed[f"{prefix}f_test"] = f.isel(point=1).values
        computed[f"{prefix}kernel"] = kernel.values
    return computed


def main() -> None:
    parser = argparse.ArgumentParser(description="fwdmft on the benchmark's two-layer setting.")
    for name in ("phi-scale", "gamma0", "eta", "phi0", "y"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--neurons", type=int, default=16_384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", required=True, help="the .npz file to write")
    options = parser.parse_args()

    import fwdmft

    mapping = experiment(
        vars(options),
        options.steps,
        {
            "neurons": options.neurons,
            "replicates": 4,
            "seed": options.seed,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        y = np.full((2, 1), options.y)
        np.savez(Path(folder) / "points.npz", x=two_points(options.phi0), y=y, train=1)
        result = fwdmft.run(fwdmft.load_experiment(mapping, base=folder))
    computed: dict[str, Any] = curves(result["theory"])
    np.savez(options.save, **computed)


if __name__ == "__main__":
    main()
