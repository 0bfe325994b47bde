"""Larger problems, each in a process of its own: `python benchmarks/large.py two-layers` (several names; none: all).

Prints wall and processor seconds from start to end, peak memory beside the estimate that `validate` makes, where q
comes from, and the errors reached of q, Sigma and b, relative to the rms. `--scale .1` takes a tenth of the points and
of the steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Case = dict[str, Any]


def two_layers(scale: float) -> Case:
    """P = 2000 points in D = 64 for 1000 steps, kernels on 16 points; q and Sigma."""
    points = _many(2000, scale)
    return {
        "architecture": {"kind": "mlp", "activation": "tanh"},
        "optimizer": _descent(1000, scale, 10 / points),
        "data": _teacher(points),
        "theory": {"kernel_points": 16, "bias": False, "covariance": False},
    }


def deep(scale: float) -> Case:
    """Depth 3, P = 200 digits, 500 steps; q and Sigma."""
    points = _many(200, scale)
    return {
        "architecture": {"kind": "deep", "depth": 3, "activation": "tanh"},
        "optimizer": _descent(500, scale, 0.4 / points),
        "data": {"kind": "digits", "train": points, "test": 8},
        "theory": {
            "neurons": 4096,
            "replicates": 2,
            "basis_tolerance": 1e-2,
            "relative_error": 0.2,
            "kernel_points": 16,
            "bias": False,
            "covariance": False,
        },
    }


def images(scale: float) -> Case:
    """Two convolutions on 100 images of 8 x 8, 100 steps; q and Sigma.

    At twice this rate variances at n = 8 are four times smaller than at n = 32, too far from a series in 1/n.
    """
    return {
        "architecture": {
            "kind": "cnn",
            "depth": 2,
            "activation": "tanh",
            "padding": "circular",
            "readout": "global_average",
        },
        "optimizer": _descent(100, scale, 2 / _many(100, scale)),
        "data": {"kind": "digits", "train": _many(100, scale), "test": 8},
        "theory": {"kernel_points": 4, "bias": False, "covariance": False, "relative_error": 0.2},
    }


def mean(scale: float) -> Case:
    """Two layers, P = 10^4 points in D = 64, 200 steps; q alone."""
    points = _many(10000, scale)
    return {
        "architecture": {"kind": "mlp", "activation": "tanh"},
        "optimizer": _descent(200, scale, 10 / points),
        "data": _teacher(points),
        "theory": {"kernel_points": 16, "fluctuations": False, "bias": False},
    }


CASES = {"two-layers": two_layers, "deep": deep, "images": images, "mean": mean}


def _many(count: int, scale: float) -> int:
    return max(8, round(scale * count))


def _descent(steps: int, scale: float, rate: float) -> dict[str, Any]:
    """The step falls as 1/P, so that the speed of training hardly depends on P."""
    return {"kind": "gradient_descent", "learning_rate": rate, "steps": _many(steps, scale)}


def _teacher(points: int) -> dict[str, Any]:
    teacher = {"kind": "single_index", "link": "tanh"}
    return {"kind": "sphere", "features": 64, "train": points, "test": 8, "teacher": teacher}


def compute(name: str, scale: float) -> None:
    """One case in this process."""
    import fwdmft
    from fwdmft.preparing import prepare
    from fwdmft.resources import BASE

    began, mapping = time.perf_counter(), CASES[name](scale)
    mapping["theory"]["save_every"] = max(1, mapping["optimizer"]["steps"] // 8)
    loaded = fwdmft.load_experiment({"name": name, **mapping})
    estimate = (prepare(loaded).peak_bytes + BASE) / 2**30
    print(f"{name}: {json.dumps(mapping)}\n  estimated memory {estimate:.2f} GiB", flush=True)
    result = fwdmft.run(loaded, lambda stage, done, total: done == total and print(f"    {stage}", flush=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  {time.perf_counter() - began:.1f} s, processor {time.process_time():.1f} s, peak memory {peak:.2f} GiB")
    diagnostics = result["diagnostics"].to_dataset()
    words = ("neurons", "basis_rank", "draws", "draw_width", "response_neurons", "response_rank", "self_check")
    print("  " + ", ".join(f"{word} {diagnostics[word].values}" for word in words if word in diagnostics))
    values = result["theory"].to_dataset()
    for suffix, label in (("", "q"), ("_variance", "Sigma"), ("_bias", "b")):
        for kernel in ("prediction", "tangent_kernel", "subset_tangent_kernel"):
            if (key := f"{kernel}{suffix}") in values:
                error, size = (rms(values[key + end].values) for end in ("_standard_error", ""))
                print(f"  {label:6s}{kernel:24s} rms {size:10.4g}, error {error / size:.2%}", flush=True)


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a))))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of points and steps")
    parser.add_argument("--here", action="store_true", help="one case in this very process")
    a = parser.parse_args()
    unknown = set(a.names) - set(CASES)
    if unknown or a.scale <= 0 or (a.here and len(a.names) != 1):
        parser.error(f"names of {', '.join(CASES)} (one with --here) and a positive scale are expected")
    if a.here:
        compute(a.names[0], a.scale)
        return
    for name in a.names or CASES:
        words = [sys.executable, str(Path(__file__).resolve()), name, "--scale", str(a.scale), "--here"]
        if subprocess.run(words, check=False).returncode:
            print(f"{name}: failed", flush=True)


if __name__ == "__main__":
    main()
