"""What deep networks cost: `python benchmarks/deep_scaling.py` (`--only steps`, `points` or `dense` for one part).

- steps: time and peak memory of the infinite width against the number of steps T (depth 3, tanh, P = 4). Seconds are
  those of a second run in the same process, compilation excluded; exponents are least-squares slopes of log seconds
  against log T over all sizes, 1 is linear.
- points: depth 3, P = 32 handwritten digits, T = 1000, infinite width alone: a fresh process, imports and compilation
  included, and the Monte-Carlo error that results.
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
from two_layer import HERE, Measured, line, rms, timed

NAMES = {
    "f": "prediction",
    "kernel": "tangent_kernel",
    "feature": "feature_kernel",
    "gradient": "gradient_kernel",
}
LABELS = {"f": "f", "kernel": "K", "feature": "Phi^1 .. Phi^3", "gradient": "G^1 .. G^3"}


def engine(mapping: dict[str, Any], again: bool = False) -> Measured:
    """A run of the mapping in a process of its own; `again`: and once more, warm."""
    with tempfile.TemporaryDirectory() as folder:
        setting, saved = Path(folder) / "setting.json", Path(folder) / "found.npz"
        setting.write_text(json.dumps(mapping))
        words = [str(HERE / "deep_engine.py"), str(setting), "--save", str(saved), *(["--again"] if again else [])]
        cost = timed(words)
        with np.load(saved) as file:
            return Measured(*cost, dict(file))


def forward(steps: int, data: dict[str, Any], neurons: int, basis_tolerance: float, again: bool) -> Measured:
    """The infinite width alone of three layers of tanh."""
    settings = {"neurons": neurons, "replicates": 2, "fluctuations": False, "bias": False}
    # The step size falls as 1/P, so that the speed of training hardly depends on P.
    rate = 0.4 / (data["train"] + data["test"])
    saved = {"save_every": max(1, steps // 20), "basis_tolerance": basis_tolerance}
    return engine(experiment(3, "tanh", 1.0, rate, steps, data, **settings, **saved), again)


def over_steps(sizes: list[int], neurons: int) -> None:
    """Print time and memory against T, and exponents."""
    data = {"kind": "sphere", "features": 8, "train": 3, "test": 1, "teacher": {"kind": "single_index", "link": "sign"}}
    print(f"T (P = 4, {neurons} neurons twice)   seconds   processor   peak memory, GB   largest basis", flush=True)
    rows = []
    for steps in sizes:
        side = forward(steps, data, neurons, 1e-6, again=True)
        rows.append((float(side.curves["again_seconds"]), float(side.curves["again_processor"]), side.memory))
        rank = side.curves["diagnostics_basis_rank"].max()
        print("{:8d} {:29.2f} {:11.2f} {:17.2f} {:15d}".format(steps, *rows[-1], rank), flush=True)
    slopes = np.polyfit(np.log(sizes), np.log(rows), 1)[0]
    print("exponent {:29.2f} {:11.2f} {:17.2f}".format(*slopes), flush=True)


def many_points(neurons: int, basis_tolerance: float) -> None:
    """Print what P = 32, T = 1000 costs and how precise it is."""
    side = forward(1000, {"kind": "digits", "train": 30, "test": 2}, neurons, basis_tolerance, again=False)
    print(f"P = 32, T = 1000, {neurons} neurons twice: {side.seconds:.1f} s, processor {side.processor:.1f} s")
    print(f"peak memory {side.memory:.2f} GB; bases {side.curves['diagnostics_basis_rank']}")
    for name in NAMES.values():
        size, error = rms(side.curves[name]), rms(side.curves[f"{name}_standard_error"])
        print(f"{name:18s} rms {size:8.4f}, standard error {error:.4f} ({error / size:.2%})", flush=True)


def against_dense(neurons: int, draws: int, replicates: int) -> None:
    """Print costs and accuracies of both."""
    depth, steps, gamma0, rate = 3, 30, 3.0, 0.015
    words = {"depth": depth, "steps": steps, "gamma0": gamma0, "learning-rate": rate}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "dense.npz"
        command = [str(HERE / "dense_hessian.py"), *(f"--{name}={value}" for name, value in words.items())]
        cost = timed([*command, "--save", str(saved)])
        with np.load(saved) as file:
            dense = Measured(*cost, dict(file))
    settings = {"neurons": neurons, "draws": draws, "replicates": replicates}
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points.npz"
        np.savez(points, x=np.ones((1, 1)), y=np.ones((1, 1)), train=1)
        data = {"kind": "file", "path": str(points)}
        ours = engine(experiment(depth, "linear", gamma0, rate, steps, data, **settings))
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


def accuracy(label: str, computed: dict[str, np.ndarray], name: str, exact: np.ndarray) -> None:
    """One line: rms difference and standard error relative to the rms, and the worst of their ratios."""
    values, error = computed[name].reshape(exact.shape), computed[f"{name}_standard_error"].reshape(exact.shape)
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
    parser.add_argument("--point-neurons", type=int, default=1536, help="points: sample neurons")
    parser.add_argument("--basis-tolerance", type=float, default=1e-3, help="points: what bases may leave out")
    parser.add_argument("--dense-neurons", type=int, nargs=2, default=[4096, 4096], help="dense: neurons, draws")
    parser.add_argument("--replicates", type=int, default=4, help="dense: samplings")
    a = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "steps": lambda: over_steps(a.steps, a.neurons),
        "points": lambda: many_points(a.point_neurons, a.basis_tolerance),
        "dense": lambda: against_dense(*a.dense_neurons, a.replicates),
    }
    for name, part in parts.items():
        if a.only in (None, name):
            part()


if __name__ == "__main__":
    main()
