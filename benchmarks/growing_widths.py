"""Networks against theory as the width grows: `python benchmarks/growing_widths.py [NAME ...]`.

Each setting trains ensembles of three widths and computes the theory with `fwdmft.run`. At the times that are kept,

    N Var q_N = Sigma + c / N + ...        E q_N = q + b / N + d / N^2 + ...

are fitted by weighted least squares to every entry of every observable; the theory's q, with its Monte-Carlo error, is
one more point of the second fit, at 1/N = 0. The tables compare the fitted Sigma and b with the theory's: rms and
largest difference in standard errors of both sides combined, the rms difference relative to the rms of the quantity
beside what the standard errors explain of it, and the chi^2 of the fits per degree of freedom. Entries are strongly
correlated (a trajectory is nearly one random number), so an rms between a half and one and a half is what to expect.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from two_layer import rms

import fwdmft

OBSERVABLES = ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel")


class Setting(NamedTuple):
    """A network, its data, learning rate eta and number of steps T. The last one or two points are test points."""

    architecture: dict[str, Any]
    gamma0: float
    data: dict[str, Any]
    rate: float
    steps: int
    widths: tuple[int, ...] = (32, 64, 128)
    members: tuple[int, ...] = (20000, 16000, 8000)
    theory: dict[str, Any] = {}


def deep(depth: int, activation: str, **settings: Any) -> dict[str, Any]:
    """A fully connected network, or with another `kind` a convolutional one; ReLU with gain sqrt(2)."""
    gain = 2**0.5 if activation == "relu" else 1.0
    return {"kind": "deep", "depth": depth, "activation": activation, "gain": gain} | settings


def cnn(depth: int, activation: str, **settings: Any) -> dict[str, Any]:
    return deep(depth, activation, kind="cnn", **settings)


def random_points(count: int, outputs: int = 1) -> dict[str, Any]:
    """Inputs on the sphere |x|^2 = D = 5 with normal targets, one of them a test point: see `write_points`."""
    return {"kind": "file", "path": f"points_{count}_{outputs}.npz"}


def digits(resolution: int, train: int) -> dict[str, Any]:
    return {"kind": "digits", "classes": [0, 1], "resolution": resolution, "train": train, "test": 2}


DEEP_THEORY: dict[str, Any] = {}
PATCHES: dict[str, Any] = {}
BANKS = {"basis_tolerance": 1e-4}
WIDE: dict[str, Any] = {"widths": (64, 128, 256), "members": (12000, 8000, 4000)}
FEW: dict[str, Any] = {"widths": (32, 64, 128), "members": (8000, 6000, 4000)}

SETTINGS = {
    "tanh-3": Setting(deep(3, "tanh"), 1.0, random_points(3), 0.06, 25, theory=DEEP_THEORY),
    "relu-3": Setting(deep(3, "relu"), 2.0, random_points(3), 0.02, 17, **WIDE, theory=DEEP_THEORY),
    "tanh-3-two-outputs": Setting(deep(3, "tanh"), 4.0, random_points(4, 2), 0.01, 25, theory=DEEP_THEORY),
    "tanh-5": Setting(deep(5, "tanh"), 2.0, random_points(3), 0.04, 21, theory=DEEP_THEORY),
    "relu-5": Setting(deep(5, "relu"), 4.0, random_points(3), 0.002, 17, **WIDE, theory=DEEP_THEORY),
    "cnn-tanh-1": Setting(cnn(1, "tanh"), 3.0, digits(8, 4), 0.05, 25, **FEW, theory=PATCHES),
    "cnn-relu-1": Setting(cnn(1, "relu", pooling="average"), 1.0, digits(8, 4), 0.05, 25, **FEW, theory=PATCHES),
    "cnn-tanh-2": Setting(cnn(2, "tanh", pooling="average"), 1.5, digits(4, 4), 0.2, 17, **FEW, theory=BANKS),
    "cnn-relu-2": Setting(cnn(2, "relu", pooling="average"), 0.5, digits(4, 3), 0.3, 9, **FEW, theory=BANKS),
    "cnn-tanh-2-large": Setting(cnn(2, "tanh", pooling="average"), 1.0, digits(8, 3), 0.2, 9, **FEW, theory=BANKS),
}


def experiment(setting: Setting, save_every: int) -> dict[str, Any]:
    """As a mapping."""
    return {
        "name": "growing-widths",
        "architecture": setting.architecture,
        "parameterization": {"kind": "mean_field", "gamma0": setting.gamma0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": setting.rate, "steps": setting.steps},
        "data": setting.data,
        "theory": {"save_every": save_every, "covariance": False} | setting.theory,
        "ensemble": {"widths": list(setting.widths), "members": list(setting.members), "samples": 0},
    }


def write_points(path: Path, dimension: int = 5) -> None:
    """What `random_points` names: inputs (P, D) with |x|^2 = D, and normal targets (P, C)."""
    count, outputs = (int(word) for word in path.stem.split("_")[1:])
    rng = np.random.default_rng(1)
    x = rng.standard_normal((count, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    np.savez(path, x=x, y=rng.standard_normal((count, outputs)), train=count - 1)


class Fit(NamedTuple):
    """A coefficient of each entry's polynomial in 1/N, its standard error, and chi^2 per degree of freedom."""

    value: np.ndarray
    error: np.ndarray
    chi2: np.ndarray


def fit(x: np.ndarray, y: np.ndarray, error: np.ndarray, order: int, which: int) -> Fit:
    """Coefficient `which` of polynomials in x (width,) through y (width, entry), known to `error`, by least squares."""
    design = np.vander(x, order + 1, increasing=True)[None] / error.T[..., None]
    target = (y / error).T[..., None]
    covariance = np.linalg.inv(np.swapaxes(design, 1, 2) @ design)
    computed = covariance @ np.swapaxes(design, 1, 2) @ target
    left = np.sum((target - design @ computed) ** 2, axis=(1, 2)) / max(1, len(x) - order - 1)
    return Fit(computed[:, which, 0], np.sqrt(covariance[:, which, which]), left)


def flat(group: xr.Dataset, name: str, leading: int = 0) -> np.ndarray:
    """Values with all axes but the first `leading` made one."""
    values = group[name].values
    return values.reshape(*values.shape[:leading], -1)


def fluctuating(theory: xr.Dataset, name: str) -> np.ndarray:
    """Entries that fluctuate at all: not a centred prediction at t = 0."""
    variance = flat(theory, f"{name}_variance")
    return variance > 1e-6 * np.max(variance)


def fitted_variance(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Fit:
    """Sigma of the entries that fluctuate."""
    n, keep = ensemble.width.values, fluctuating(theory, name)
    y, error = (flat(ensemble, f"{name}_variance{suffix}", 1)[:, keep] for suffix in ("", "_standard_error"))
    return fit(1 / n, n[:, None] * y, n[:, None] * error, order=1, which=0)


def fitted_bias(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Fit:
    """b of the entries that fluctuate."""
    keep = fluctuating(theory, name)
    rows = [
        np.concatenate([flat(theory, f"{name}{ours}")[None], flat(ensemble, f"{name}_mean{theirs}", 1)])[:, keep]
        for ours, theirs in (("", ""), ("_standard_error", "_standard_error"))
    ]
    return fit(np.concatenate([[0.0], 1 / ensemble.width.values]), *rows, order=2, which=1)


def report(theory: xr.Dataset, ensemble: xr.Dataset) -> None:
    """The table of one setting."""
    print(f"{'':28s}{'rms s.e.':>10s}{'max s.e.':>10s}{'relative':>10s}{'expected':>10s}{'chi2':>8s}")
    for name in OBSERVABLES:
        for kind, computed in (("variance", fitted_variance), ("bias", fitted_bias)):
            fitted, keep = computed(theory, ensemble, name), fluctuating(theory, name)
            ours = flat(theory, f"{name}_{kind}")[keep]
            difference = fitted.value - ours
            error = np.hypot(fitted.error, flat(theory, f"{name}_{kind}_standard_error")[keep])
            z, size = difference / error, rms(ours)
            columns = (rms(z), np.max(np.abs(z)), rms(difference) / size, rms(error) / size, np.mean(fitted.chi2))
            print(f"{name + ' ' + kind:28s}" + "{:10.2f}{:10.2f}{:10.1%}{:10.1%}{:8.2f}".format(*columns), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sigma and b from ensembles of growing width.")
    parser.add_argument("names", nargs="*", help=f"settings; left out: {', '.join(SETTINGS)}")
    parser.add_argument("--save-every", type=int, default=8, help="keep every n-th time and the last")
    parser.add_argument("--save", type=Path, help="a folder for the result files")
    a = parser.parse_args()
    for name in a.names or SETTINGS:
        setting, began = SETTINGS[name], time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            if "path" in setting.data:
                write_points(Path(folder) / setting.data["path"])
            tree = fwdmft.run(fwdmft.load_experiment(experiment(setting, a.save_every), base=folder))
        theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
        loss = theory["loss"].sel(split="train").values
        print(f"\n{name}: {setting}")
        print(f"{time.perf_counter() - began:.0f} s; loss at infinite width {loss[0]:.3f} to {loss[-1]:.3f}")
        report(theory, ensemble)
        if a.save:
            tree.to_netcdf(a.save / f"{name}.nc")


if __name__ == "__main__":
    main()
