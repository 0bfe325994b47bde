"""The published solver against the engine, with trained networks as judge: `python benchmarks/two_layer.py`.

Each side runs in its own process: its seconds are wall time from start to end of that process, imports and
compilation included, and its memory is that process's peak. Errors are root mean squares over all steps against one
ensemble of finite networks; the last column is the root mean square standard error of that ensemble, below which no
difference means anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def options(settings: dict[str, float]) -> list[str]:
    """Command-line options, underscores turned into hyphens."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; wall seconds and peak memory in GB of that process. Its output is shown only if it
    fails.""" began = time.perf_counter() with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{Path(command[0]).name} failed:\n{log.read().decode(errors='replace')}")
    return time.perf_counter() - began, usage.ru_maxrss / 2**20


def measure(script: str, arguments: list[str], path: Path) -> tuple[float, float, dict[str, np.ndarray]]:
    """Seconds, peak GB and the curves of one side."""
    seconds, memory = timed([str(HERE / script), *arguments])
    with np.load(path) as file:
        return seconds, memory, dict(file)


def rms(a: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(a))))


def row(label: str, values: list[float], form: str, note: str = "") -> str:
    """One line of the table: both sides, baseline over engine, and a note."""
    cells = "".join(f"{format(value, form):>13s}" for value in values)
    return f"{label:27s}{cells}{values[0] / values[1]:>13.2f}{note:>14s}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=250, help="number of times T")
    parser.add_argument("--samples", type=int, default=10_000, help="baseline: Monte-Carlo neurons")
    parser.add_argument(
        "--derivative-samples", type=int, default=1_000, help="baseline: neurons of its tensors"
    )
    parser.add_argument("--neurons", type=int, default=16_384, help="engine: sample neurons")
    parser.add_argument("--width", type=int, default=1_024, help="reference: width N")
    parser.add_argument("--members", type=int, default=8_000, help="reference: trained networks")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    setting = {**SETTING, "steps": a.steps}
    baseline_options = {"samples": a.samples, "derivative_samples": a.derivative_samples, "seed": a.seed}
    with tempfile.TemporaryDirectory() as name:
        # The processes come first: a child's peak memory on Linux is never less than its parent's at the
        start. saved = Path(name) / "baseline.npz" arguments = [*options({**setting, **baseline_options}),
        "--save", str(saved)] baseline = measure("published_solver.py", arguments, saved) saved = Path(name) /
        "engine.npz" arguments = [str(saved), *options({**setting, "neurons": a.neurons, "seed": a.seed})]
        engine = measure("engine.py", arguments, saved)

    from finite_networks import ensemble

    scale, gamma0, eta, overlap, y = SETTING.values()
    reference = ensemble(scale, gamma0, eta, a.steps, overlap, y, a.width, a.members, seed=a.seed + 1)
    print(f"T = {a.steps}; reference: {a.members} networks of width {a.width}, {reference['seconds']:.0f} s")
    print(f"{'':27s}{'baseline':>13s}{'engine':>13s}{'ratio':>13s}{'resolution':>14s}")
    print(row("seconds", [baseline[0], engine[0]], ".1f"))
    print(row("peak memory, GB", [baseline[1], engine[1]], ".2f"))
    for key, label in ROWS.items():
        size = rms(reference[key])
        errors = [rms(side[2][key] - reference[key]) / size for side in (baseline, engine)]
        print(row(f"{label}", errors, ".3%", f"{rms(reference[f'{key}_error']) / size:.3%}"))
    print(
        "Errors are relative to the rms of the quantity. The engine also gives the bias, which the baseline
        lacks:"
    )
    for key in ("f", "f_test", "kernel"):
        print(f"  b of {key:8s} at the last step {engine[2][f'bias_{key}'][-1]:+.4f}")


if __name__ == "__main__":
    main()
