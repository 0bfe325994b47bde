"""How the engine's time grows with the number of steps T and of points P: `python benchmarks/scaling.py`.

Each setting runs once to compile and is then timed again in the same process; what JAX still spends on
lowering and compiling in the timed run, by its own event counters, is subtracted. `forward` is the mean field
alone; `full` adds fluctuations and bias. Exponents are least-squares slopes of log seconds against log T or
log P over the largest three sizes, where fixed costs weigh least; 1 is linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from engine import experiment

import fwdmft


def write_points(path: Path, count: int, dimension: int = 8) -> None:
    """Random inputs (P, D) with |x|^2 = D and targets (P, 1) of +-1; the last of the P is a test point."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(rng.random((count, 1)) < 0.5, -1.0, 1.0)
    np.savez(path, x=x, y=y, train=count - 1)


COMPILE_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class CompileTime:
    """Seconds JAX has spent lowering and compiling since the last `reset`.

    Tracing is left in: its events nest, so their sum would count some of it twice.
    """

    def __init__(self) -> None:
        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event in COMPILE_EVENTS:
            self.total += duration_secs

    def reset(self) -> None:
        self.total = 0.0


COMPILING = CompileTime()


def seconds(steps: int, count: int, neurons: int, full: bool) -> float:
    """Wall seconds of a run with `count` points, compilation excluded; the best of three where runs are
    short."""
    theory = {
        "neurons": neurons,
        "fluctuations": full,
        "bias": full,
        "covariance": False,
        "save_every": max(1, steps // 10),
        "replicates": 2,
    }
    # The step size falls as 1/P, so that the speed of training hardly depends on P.
    setting = {"phi_scale": 1.0, "gamma0": 1.0, "eta": 0.1 / count}
    with tempfile.TemporaryDirectory() as folder:
        write_points(Path(folder) / "points.npz", count)
        loaded = fwdmft.load_experiment(experiment(setting, steps, theory), base=folder)
        fwdmft.run(loaded)
        return min(once(loaded) for _ in range(1 if full else 3))


def once(experiment: Any) -> float:
    """Wall seconds of one run, compilation excluded."""
    COMPILING.reset()
    began = time.perf_counter()
    fwdmft.run(experiment)
    return time.perf_counter() - began - COMPILING.total


def slope(sizes: list[int], values: list[float]) -> float:
    """Slope of log value against log size over the last three sizes."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def table(title: str, sizes: list[int], timings: dict[str, list[float]]) -> None:
    """Print one line a size, then the exponents."""
    print(f"{title:>12s}" + "".join(f"{name + ', s':>13s}" for name in timings))
    for i, size in enumerate(sizes):
        print(f"{size:12d}" + "".join(f"{values[i]:13.3f}" for values in timings.values()))
    exponents = "".join(f"{slope(sizes, values):13.2f}" for values in timings.values())
    print(f"{'exponent':>12s}{exponents}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Exponents of the engine's time in T and in P.")
    parser.add_argument("--neurons", type=int, default=16_384, help="neurons of `forward`")
    parser.add_argument("--full-neurons", type=int, default=4_096, help="neurons of `full`")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400, 800, 1600], help="all T")
    parser.add_argument("--points", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="all P")
    parser.add_argument("--fixed-steps", type=int, default=200, help="T while P varies")
    parser.add_argument("--fixed-points", type=int, default=8, help="P while T varies")
    parser.add_argument("--forward-only", action="store_true", help="leave `full` out")
    a = parser.parse_args()
    modes = {"forward": (a.neurons, False)}
    if not a.forward_only:
        modes["full"] = (a.full_neurons, True)
    over_steps = {m: [seconds(t, a.fixed_points, *mode) for t in a.steps] for m, mode in modes.items()}
    table(f"T (P = {a.fixed_points})", a.steps, over_steps)
    over_points = {m: [seconds(a.fixed_steps, p, *mode) for p in a.points] for m, mode in modes.items()}
    table(f"P (T = {a.fixed_steps})", a.points, over_points)


if __name__ == "__main__":
    main()
