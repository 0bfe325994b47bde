"""The published solver against the engine, with trained networks as judge: `python benchmarks/two_layer.py`.

Each side runs in its own process: its seconds are wall time from start to end of that process, imports and
compilation included (processor seconds add up all cores), and its memory is that process's peak. Errors are
root mean squares over all steps against one ensemble of finite networks, relative to the rms of the quantity;
the last column is the ensemble's own rms standard error, below which no difference means anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
SETTING = {"phi_scale": 0.4, "gamma0": 3.0, "eta": 0.01, "phi0": 0.5156, "y": 1.0}
ROWS = {
    "f": "mean f, training point",
    "f_test": "mean f, test point",
    "kernel": "mean K",
    "variance_f": "N Var f, training point",
    "variance_f_test": "N Var f, test point",
    "variance_kernel": "N Var K",
}


class Measured(NamedTuple):
    """One solver's wall and processor seconds, peak memory in GB and curves (T,)."""

    seconds: float
    processor: float
    memory: float
    curves: dict[str, np.ndarray]


def timed(command: list[str]) -> tuple[float, float, float]:
    """Run a Python script: its process's wall and processor seconds and peak GB. Output is shown on
    failure."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{Path(command[0]).name} failed:\n{log.read().decode(errors='replace')}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def measure(script: str, options: dict[str, float]) -> Measured:
    """Run a script of this directory with the given options and read back the curves it saves."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "curves.npz"
        cost = timed([str(HERE / script), *words, "--save", str(saved)])
        with np.load(saved) as file:
            return Measured(*cost, dict(file))


def rms(a: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(a))))


def line(label: str, baseline: float, engine: float, form: str, note: str = "") -> str:
    """One line of the table: both sides, baseline over engine, and a note."""
    return f"{label:26s}{baseline:>12{form}}{engine:>12{form}}{baseline / engine:>10.2f}{note:>13s}"


def report(baseline: Measured, engine: Measured, reference: dict[str, np.ndarray]) -> list[str]:
    """The lines of the table."""
    lines = [f"{'':26s}{'baseline':>12s}{'engine':>12s}{'ratio':>10s}{'resolution':>13s}"]
    lines.append(line("seconds", baseline.seconds, engine.seconds, ".1f"))
    lines.append(line("processor seconds", baseline.processor, engine.processor, ".1f"))
    lines.append(line("peak memory, GB", baseline.memory, engine.memory, ".2f"))
    for key, label in ROWS.items():
        size = rms(reference[key])
        first, second = (rms(side.curves[key] - reference[key]) / size for side in (baseline, engine))
        lines.append(line(label, first, second, ".3%", f"{rms(reference[f'{key}_error']) / size:.3%}"))
    return lines


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The published solver against the engine.")
    parser.add_argument("--steps", type=int, default=250, help="number of times T")
    parser.add_argument("--samples", type=int, default=10_000, help="baseline: Monte-Carlo neurons")
    parser.add_argument("--derivative-samples", type=int, default=1_000, help="baseline: neurons of its tensors")
    parser.add_argument("--neurons", type=int, default=16_384, help="engine: sample neurons")
    parser.add_argument("--width", type=int, default=1_024, help="reference: width N")
    parser.add_argument("--members", type=int, default=8_000, help="reference: trained networks")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    a = arguments()
    common = {**SETTING, "steps": a.steps, "seed": a.seed}
    # The processes come first: on Linux a child's peak memory is never less than its parent's when it starts.
    baseline_options = {"samples": a.samples, "derivative_samples": a.derivative_samples}
    baseline = measure("published_solver.py", {**common, **baseline_options})
    engine = measure("engine.py", {**common, "neurons": a.neurons})

    from finite_networks import ensemble

    reference = ensemble(SETTING, a.steps, a.width, a.members, seed=a.seed + 1)
    print(f"T = {a.steps}; reference: {a.members} networks of width {a.width} ({reference['seconds']:.0f} s)")
    print("\n".join(report(baseline, engine, reference)))
    print("The engine also gives the bias, which the baseline lacks; N (E q_N - q) at the last step:")
    print("   ".join(f"{key} {engine.curves[f'bias_{key}'][-1]:+.4f}" for key in ("f", "f_test", "kernel")))


if __name__ == "__main__":
    main()
