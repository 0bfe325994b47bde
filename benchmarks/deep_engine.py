"""The engine on one deep network, through fwdmft's public interface only.

`python benchmarks/deep_engine.py SETTING.json --save RESULT.npz` runs the experiment that the JSON file holds once, so
that a fresh process carries the whole cost: imports, compilation and whatever the experiment asks for. With `--again`
it runs it a second time and adds what that took, compilation excluded. The .npz file has every array of the `theory`
group under its name, and `diagnostics_*`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np


def experiment(
    depth: int, activation: str, gamma0: float, rate: float, steps: int, data: dict[str, Any], **theory: Any
) -> dict[str, Any]:
    """A deep network as a mapping, without ensembles."""
    return {
        "name": "deep-benchmark",
        "architecture": {"kind": "deep", "depth": depth, "activation": activation},
        "parameterization": {"kind": "mean_field", "gamma0": gamma0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": rate, "steps": steps},
        "data": data,
        "theory": theory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="fwdmft on one deep network.")
    parser.add_argument("setting", type=Path, help="a JSON file with an experiment")
    parser.add_argument("--again", action="store_true", help="time a second run, compilation excluded")
    parser.add_argument("--save", required=True, help="the .npz file to write")
    options = parser.parse_args()

    import fwdmft

    loaded = fwdmft.load_experiment(json.loads(options.setting.read_text()))
    result = fwdmft.run(loaded)
    computed: dict[str, Any] = {str(name): values.values for name, values in result["theory"].data_vars.items()}
    computed |= {f"diagnostics_{name}": values.values for name, values in result["diagnostics"].data_vars.items()}
    if options.again:
        from scaling import COMPILING

        COMPILING.reset()
        began, worked = time.perf_counter(), time.process_time()
        fwdmft.run(loaded)
        computed["again_seconds"] = time.perf_counter() - began - COMPILING.total
        computed["again_processor"] = time.process_time() - worked - COMPILING.total
    np.savez(options.save, **computed)


if __name__ == "__main__":
    main()
