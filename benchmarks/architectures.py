"""Theory against ensembles for recurrent networks, transformers, normalisation and gates.

    python benchmarks/architectures.py [--only NAME ...] [--members 4000] [--widths 32 64 128] [--jobs 1]

For each setting, of f, Phi, G, K and attention: means at the largest width less q and b / N, in standard errors (rms
and largest); N Var extrapolated to infinite width from all widths, less Sigma, relative to it (rms) with its standard
error, and in standard errors (rms). The networks are those of the architectures' own modules.
"""

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

RECURRENT = {"kind": "recurrent", "activation": "tanh"}
TRANSFORMER = {"kind": "transformer", "activation": "tanh"}
HEADS = {"heads": "infinite", "key_size": 2, "mlp": False}
DEEP = {"kind": "deep", "depth": 3, "activation": "tanh"}

# Architecture, shape of a point, gamma0, learning rate.
SETTINGS: dict[str, tuple[dict[str, Any], tuple[int, ...], float, float]] = {
    "recurrent tanh, last of 4": (RECURRENT, (4, 4), 1.0, 0.3),
    "recurrent tanh, last of 5, gamma0 2": (RECURRENT, (5, 4), 2.0, 0.2),
    "recurrent ReLU, mean of 3, gamma0 .5": (
        RECURRENT | {"activation": "relu", "readout": "mean", "gain": 2**0.5},
        (3, 4),
        0.5,
        0.1,
    ),
    "softmax, mlp": (TRANSFORMER, (3, 4), 1.0, 0.2),
    "softmax, 2 blocks, no mlp": (TRANSFORMER | {"depth": 2, "mlp": False, "branch_scale": 0.7}, (3, 4), 1.0, 0.2),
    "linear, causal, 2 blocks, no mlp": (
        TRANSFORMER | {"depth": 2, "mlp": False, "scores": "linear", "causal": True},
        (3, 4),
        1.0,
        0.2,
    ),
    "softmax, heads of size 2": (TRANSFORMER | HEADS, (3, 4), 1.0, 0.2),
    "linear, causal, 2 blocks, heads of size 2": (
        TRANSFORMER | HEADS | {"depth": 2, "scores": "linear", "causal": True, "branch_scale": 0.7},
        (3, 4),
        1.0,
        0.2,
    ),
    "layer norm": (DEEP | {"normalization": "layer"}, (4,), 1.0, 0.1),
    "rms norm, ReLU": (DEEP | {"normalization": "rms", "activation": "relu"}, (4,), 1.0, 0.1),
    "gated": ({"kind": "deep", "depth": 2, "activation": "tanh", "gate": True}, (4,), 1.0, 0.1),
}
QUANTITIES = ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel", "attention", "attention_dispersion")
POINTS, TRAINED, STEPS, EVERY = 3, 2, 21, 5


def experiment(name: str, folder: Path, members: int, widths: list[int]) -> Path:
    """Its file, with inputs and targets beside."""
    architecture, shape, gamma0, rate = SETTINGS[name]
    rng = np.random.default_rng(7)
    stem = "".join(c if c.isalnum() else "-" for c in name)
    np.savez(
        folder / f"{stem}.npz", x=rng.standard_normal((POINTS, *shape)), y=np.array([1.0, -1.0, 1.0]), train=TRAINED
    )
    text = {
        "name": stem,
        "architecture": architecture,
        "parameterization": {"kind": "mean_field", "gamma0": gamma0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": rate, "steps": STEPS},
        "data": {"kind": "file", "path": f"{stem}.npz"},
        "theory": {"save_every": EVERY},
        "ensemble": {"widths": widths, "members": members, "save_every": EVERY},
    }
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


def run(name: str, folder: Path, members: int, widths: list[int]) -> tuple[Path, str]:
    """The result, and what went wrong."""
    path = experiment(name, folder, members, widths)
    result = path.with_suffix(".nc")
    command = [sys.executable, "-m", "fwdmft", "run", str(path), "-o", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return result, done.stderr.strip()[-300:] if done.returncode else ""


def rows(name: str, result: Path) -> list[str]:
    """Of every quantity. HDF5 is not safe among threads, so this is done in one."""
    with xr.open_datatree(result) as tree:
        theory, ensemble = tree["theory"].load(), tree["ensemble"].load()
    return [row(name, quantity, theory, ensemble) for quantity in QUANTITIES if quantity in theory]


def row(name: str, quantity: str, theory: Any, ensemble: Any) -> str:
    """Of one quantity."""

    def of(group: Any, what: str) -> np.ndarray:
        return np.asarray(group[f"{quantity}{what}"].values)

    widths = np.asarray(ensemble["width"].values, float)
    means, errors = of(ensemble, "_mean"), of(ensemble, "_mean_standard_error")
    q, b = of(theory, ""), of(theory, "_bias")
    q_error, b_error = of(theory, "_standard_error"), of(theory, "_bias_standard_error")
    moved = np.sqrt(errors[-1] ** 2 + q_error**2 + (b_error / widths[-1]) ** 2)
    some = errors[-1] > 1e-12 * max(np.max(np.abs(means)), 1e-300)
    z = ((means[-1] - q - b / widths[-1]) / np.where(some, moved, 1.0))[some]
    variances = widths.reshape(-1, *(1,) * q.ndim) * of(ensemble, "_variance")
    v_errors = widths.reshape(-1, *(1,) * q.ndim) * of(ensemble, "_variance_standard_error")
    limit, limit_error = extrapolated(widths, variances, v_errors)
    sigma, sigma_error = of(theory, "_variance"), of(theory, "_variance_standard_error")
    size = np.sqrt(np.mean(sigma[some] ** 2))
    off = np.sqrt(np.mean((limit - sigma)[some] ** 2)) / size
    resolution = np.sqrt(np.mean((limit_error**2 + sigma_error**2)[some])) / size
    zs = ((limit - sigma) / np.sqrt(limit_error**2 + sigma_error**2 + 1e-300))[some]
    return (
        f"{name:38s} {quantity:20s} mean {np.sqrt(np.mean(z**2)):5.2f} {np.max(np.abs(z)):5.2f} s.e.   "
        f"N Var off {100 * off:5.1f} % (s.e. {100 * resolution:4.1f} %), {np.sqrt(np.mean(zs**2)):5.2f} s.e."
    )


def extrapolated(widths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of values (width, ...) = a + c / N, weighted by their errors: a and its standard error."""
    x = (1 / widths).reshape(-1, *(1,) * (values.ndim - 1))
    weight = 1 / np.maximum(errors, 1e-12 * np.max(errors) + 1e-150) ** 2
    s0, s1, s2 = (np.sum(weight * x**power, axis=0) for power in range(3))
    determinant = s0 * s2 - s1**2
    a = (s2 * np.sum(weight * values, axis=0) - s1 * np.sum(weight * x * values, axis=0)) / determinant
    return a, np.sqrt(s2 / determinant)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), help="settings (all)")
    parser.add_argument("--members", type=int, default=4000, help="networks of each width")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128], help="widths N")
    parser.add_argument("--jobs", type=int, default=1, help="settings at once")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [pool.submit(run, name, Path(folder), arguments.members, arguments.widths) for name in arguments.only]
        for name, job in zip(arguments.only, jobs, strict=True):
            result, problem = job.result()
            print("\n".join([f"{name:38s} failed: {problem}"] if problem else rows(name, result)), flush=True)


if __name__ == "__main__":
    main()
