"""What deep networks cost: `python benchmarks/deep_scaling.py` (`--only steps`, `points` or `dense` for one part).

- steps: time and peak memory of the infinite width against the number of steps T (depth 3, tanh, P = 4). Seconds are
  those of a second run in the same process, compilation excluded; exponents are least-squares slopes of log seconds
  against log T over all sizes, 1 is linear.
- points: depth 3, P = 32, T = 1000, infinite width alone: a fresh process, imports and compilation included, and the
  Monte-Carlo error that results.
- dense: depth 3, linear, P = 1, T = 30, gamma0 = 3: mean, Sigma and b of f and all kernels from the engine, beside the
  means and Sigma of the published propagator (`dense_hessian.py`), each in a fresh process. The propagator is exact up
  to rounding, so it also judges the engine: differences are rms over times, layers and entries, relative to the rms.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from deep_engine import experiment
from two_layer import HERE, Side, line, rms, timed

NAMES = {
    "f": "prediction",
    "kernel": "tangent_kernel",
    "feature": "feature_kernel",
    "gradient": "gradient_kernel",
}
LABELS = {"f": "f", "kernel": "K", "feature": "Phi^1 .. Phi^3", "gradient": "G^1 .. G^3"}


def engine(mapping: dict[str, Any], x: np.ndarray, y: np.ndarray, train: int, again: bool = False) -> Side:
    """A run of the mapping on the points x (P, D), y (P, 1) in a process of its own; `again`: and once more, warm."""
    with tempfile.TemporaryDirectory() as folder:
        setting, saved = Path(folder) / "setting.json", Path(folder) / "found.npz"
        np.savez(Path(folder) / "points.npz", x=x, y=y, train=train)
        setting.write_text(json.dumps(mapping))
        words = [str(HERE / "deep_engine.py"), str(setting), "--save", str(saved), *(["--again"] if again else [])]
        cost = timed(words)
        with np.load(saved) as file:
            return Side(*cost, dict(file))


def sphere(count: int, dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs (P, D) with |x|^2 = D, and targets (P, 1) of +-1."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.where(rng.random((count, 1)) < 0.5, -1.0, 1.0)


def forward(steps: int, count: int, neurons: int, again: bool) -> Side:
    """The infinite width alone of three layers of tanh on `count` points, the last of them a test point."""
    settings = {"neurons": neurons, "replicates": 2, "fluctuations": False, "bias": False}
    # The step size falls as 1/P, so that the speed of training hardly depends on P.
    mapping = experiment(3, "tanh", 1.0, 0.4 / count, steps, save_every=max(1, steps // 10), **settings)
    return engine(mapping, *sphere(count), train=count - 1, again=again)


def over_steps(sizes: list[int], neurons: int) -> None:
    """Print time and memory against T, and exponents."""
    found = [forward(steps, 4, neurons, again=True) for steps in sizes]
    seconds = [float(side.curves["again_seconds"]) for side in found]
    processor = [float(side.curves["again_processor"]) for side in found]
    print(f"T (P = 4, {neurons} neurons twice)   seconds   processor   peak memory, GB   largest basis")
    for size, wall, work, side in zip(sizes, seconds, processor, found, strict=True):
        print(
            f"{size:8d} {wall:29.2f} {work:11.2f} {side.memory:17.2f} {side.curves['diagnostics_basis_rank'].max():15d}"
        )
    slopes = [np.polyfit(np.log(sizes), np.log(values), 1)[0] for values in (seconds, processor)]
    memory = np.polyfit(np.log(sizes), np.log([side.memory for side in found]), 1)[0]
    print(f"exponent {slopes[0]:29.2f} {slopes[1]:11.2f} {memory:17.2f}", flush=True)


def many_points(neurons: int) -> None:
    """Print what P = 32, T = 1000 costs and how precise it is."""
    side = forward(1000, 32, neurons, again=False)
    print(f"P = 32, T = 1000, {neurons} neurons twice: {side.seconds:.1f} s, processor {side.processor:.1f} s")
    print(f"peak memory {side.memory:.2f} GB; bases {side.curves['diagnostics_basis_rank']}")
    for name in NAMES.values():
        size, error = rms(side.curves[name]), rms(side.curves[f"{name}_standard_error"])
        print(f"{name:18s} rms {size:8.4f}, standard error {error:.4f} ({error / size:.2%})", flush=True)


def against_dense(neurons: int, fluctuation_neurons: int, replicates: int) -> None:
    """Print costs and accuracies of both."""
    depth, steps, gamma0, rate = 3, 30, 3.0, 0.015
    words = {"depth": depth, "steps": steps, "gamma0": gamma0, "learning-rate": rate}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "dense.npz"
        command = [str(HERE / "dense_hessian.py"), *(f"--{name}={value}" for name, value in words.items())]
        cost = timed([*command, "--save", str(saved)])
        with np.load(saved) as file:
            dense = Side(*cost, dict(file))
    settings = {"neurons": neurons, "fluctuation_neurons": fluctuation_neurons, "replicates": replicates}
    mapping = experiment(depth, "linear", gamma0, rate, steps, covariance=True, **settings)
    ours = engine(mapping, np.ones((1, 1)), np.ones((1, 1)), train=1)
    print(f"{'':26s}{'baseline':>12s}{'engine':>12s}{'ratio':>10s}")
    print(line("seconds", dense.seconds, ours.seconds, ".1f"))
    print(line("processor seconds", dense.processor, ours.processor, ".1f"))
    print(line("peak memory, GB", dense.memory, ours.memory, ".2f"))
    print("engine against baseline:  difference, standard error, worst difference in standard errors")
    for key, name in NAMES.items():
        accuracy(f"mean {LABELS[key]}", ours.curves, name, dense.curves[key])
    for key, name in NAMES.items():
        accuracy(f"N Var {LABELS[key]}", ours.curves, f"{name}_variance", dense.curves[f"variance_{key}"])
    print("b, which the baseline lacks: rms, standard error")
    for key, name in NAMES.items():
        b, error = ours.curves[f"{name}_bias"], ours.curves[f"{name}_bias_standard_error"]
        print(f"{LABELS[key]:26s}{rms(b):12.4f}{rms(error):12.4f}", flush=True)


def accuracy(label: str, found: dict[str, np.ndarray], name: str, exact: np.ndarray) -> None:
    """One line: rms difference and standard error relative to the rms, and the worst of their ratios."""
    values, error = found[name].reshape(exact.shape), found[f"{name}_standard_error"].reshape(exact.shape)
    # Rounding of the baseline's matrices is what is left where a variance all but vanishes.
    known = np.abs(exact) > 1e-6 * np.max(np.abs(exact))
    worst = np.max((np.abs(values - exact) / np.maximum(error, 1e-9))[known])
    print(
        f"{label:26s}{rms(values - exact) / rms(exact):12.3%}{rms(error) / rms(exact):12.3%}{worst:10.1f}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What deep networks cost, and the dense propagator beside them.")
    parser.add_argument("--only", choices=["steps", "points", "dense"], help="one part; left out: all")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400, 1000], help="all T")
    parser.add_argument("--neurons", type=int, default=2048, help="steps: sample neurons")
    parser.add_argument("--point-neurons", type=int, default=2048, help="points: sample neurons")
    parser.add_argument("--dense-neurons", type=int, nargs=2, default=[8192, 4096], help="dense: for mean, Sigma and b")
    parser.add_argument("--replicates", type=int, default=8, help="dense: samplings")
    a = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "steps": lambda: over_steps(a.steps, a.neurons),
        "points": lambda: many_points(a.point_neurons),
        "dense": lambda: against_dense(*a.dense_neurons, a.replicates),
    }
    for name, part in parts.items():
        if a.only in (None, name):
            part()


if __name__ == "__main__":
    main()
