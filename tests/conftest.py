"""Compiling takes most of the tests' time, and at their sizes the costlier optimisations do not earn it back."""

import os
import subprocess
import sys

CHEAP = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"


def _accepted(flags: str) -> bool:
    """XLA ends the process at a flag it does not know, and which ones it knows changes between versions."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = CHEAP if _accepted(CHEAP) else ""
