"""How the engine's time grows with the number of steps T and of points P: `python benchmarks/scaling.py`.

Each setting runs twice in this process and the second run is timed, so compilation does not count. `forward` is the
mean field alone, `full` adds fluctuations and bias. Exponents are least-squares slopes of log seconds against log T
or log P over the largest three sizes, where fixed costs weigh least; 1 is linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from engine import experiment

import fwdmft


def points(count: int, dimension: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs (P, D) with |x|^2 = D and targets (P, 1) of +-1."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.where(rng.random((count, 1)) < 0.5, -1.0, 1.0)


def seconds(steps: int, count: int, neurons: int, full: bool) -> float:
    """Wall seconds of the second of two identical runs; the last of `count` points is a test point."""
    x, y = points(count)
    theory = {
        "neurons": neurons,
        "fluctuations": full,
        "bias": full,
        "covariance": False,
        "save_every": steps // 20,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) # The step size is divided by P so that training speed, and with it the path
        taken, hardly depends on P. mapping = experiment(
            x, y, count - 1, folder, scale=1.0, gamma0=1.0, eta=0.1 / count, steps=steps, theory=theory
        )
        loaded = fwdmft.load_experiment(mapping, base=folder)
        fwdmft.run(loaded)
        began = time.perf_counter()
        fwdmft.run(loaded)
    return time.perf_counter() - began


def slope(sizes: list[int], values: list[float]) -> float:
    """Slope of log value against log size over the last three sizes."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def table(symbol: str, sizes: list[int], timings: dict[str, list[float]]) -> None:
    """One line a size, then the exponents."""
    print(f"{symbol:>9s}" + "".join(f"{name + ', s':>14s}" for name in timings))
    for i, size in enumerate(sizes):
        print(f"{size:9d}" + "".join(f"{values[i]:14.3f}" for values in timings.values()))
    print(
        f"{'exponent':>9s}" + "".join(f"{slope(sizes, values):14.2f}" for values in timings.values()),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=4_096)
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[100, 200, 400, 800, 1600], help="values of T"
    )
    parser.add_argument("--points", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64], help="values of P")
    parser.add_argument("--fixed-steps", type=int, default=200, help="T while P varies")
    parser.add_argument("--fixed-points", type=int, default=2, help="P while T varies")
    a = parser.parse_args()
    modes = {"forward": False, "full": True}
    over_steps = {
        m: [seconds(t, a.fixed_points, a.neurons, full) for t in a.steps] for m, full in modes.items()
    }
    table(f"T (P={a.fixed_points})", a.steps, over_steps)
    over_points = {
        m: [seconds(a.fixed_steps, p, a.neurons, full) for p in a.points] for m, full in modes.items()
    }
    table(f"P (T={a.fixed_steps})", a.points, over_points)


if __name__ == "__main__":
    main()
