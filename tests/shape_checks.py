"""Runs small experiments while shapes and types of all arguments are checked, see `main`.

jaxtyping's import hook checks the annotations of every function at each of its calls. Within compiled functions that is
while JAX traces them, so sizes are as small as they can be.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

PACKAGES = ("fwdmft", "fwdmft_cnn", "fwdmft_deep", "fwdmft_mlp", "fwdmft_recurrent", "fwdmft_transformer")
"""Those whose annotations are checked, with all that they contain."""

decorated: Counter[str] = Counter()
"""How many functions of each package were imported with checks."""


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The type checker that jaxtyping calls. An int is a float to it, as to mypy."""
    decorated[function.__module__.partition(".")[0]] += 1
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)


def checking(packages: tuple[str, ...]) -> Any:
    """A context in which these packages are imported with checks."""
    return install_import_hook(packages, "shape_checks.check")


OPTIMIZER = {
    "kind": "gradient_descent",
    "learning_rate": 0.05,
    "steps": 2,
    "momentum": 0.5,
    "batch": {"size": 1},
}

RESPONSE = {"neurons": 128, "replicates": 2}
DRAWS = RESPONSE | {"draws": 32, "draw_width": 8}
MEANS = RESPONSE | {"fluctuations": False, "bias": False}
IN_TIME = MEANS | {"two_time": True, "responses": True}
ONLINE = {
    "theory": MEANS,
    "optimizer": OPTIMIZER | {"data": "online"},
    "parameterization": {"kind": "mean_field", "center": False},
}

Case = tuple[dict[str, Any], tuple[int, ...], int, dict[str, Any]]

CASES: tuple[Case, ...] = (
    # architecture, shape of a point, outputs, changes of the experiment
    ({"kind": "mlp", "activation": "tanh", "bias": 0.3}, (3,), 2, {"theory": RESPONSE}),
    ({"kind": "deep", "depth": 2, "branch_scale": 0.5}, (3,), 2, {"theory": DRAWS}),
    ({"kind": "deep", "depth": 2, "normalization": "layer"}, (3,), 2, ONLINE),
    ({"kind": "cnn", "depth": 2, "pooling": "average", "kernel_size": 2}, (4, 4, 1), 2, {"theory": MEANS}),
    ({"kind": "recurrent", "readout": "mean"}, (2, 3), 1, {"theory": IN_TIME}),
    ({"kind": "transformer", "mlp": False}, (2, 3), 2, {"theory": MEANS, "ensemble": {"widths": [8], "members": 2}}),
)


def experiment(case: Case, path: Path) -> dict[str, Any]:
    """Of a case, on random points that are written to this path."""
    architecture, shape, outputs, changes = case
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.normal(size=(3, *shape)), y=rng.normal(size=(3, outputs)), train=2)
    return {
        "name": architecture["kind"],
        "architecture": architecture,
        "optimizer": OPTIMIZER,
        "data": {"kind": "file", "path": str(path)},
        **changes,
    }


def main() -> None:
    """Runs the cases. fwdmft must not have been imported before, as checks are added on import."""
    random.seed(0)  # beartype looks at one item of a sequence, which this generator chooses
    with checking(PACKAGES):
        import fwdmft

        with tempfile.TemporaryDirectory() as folder:
            for number, case in enumerate(CASES):
                fwdmft.run(fwdmft.load_experiment(experiment(case, Path(folder) / f"{number}.npz")))
    missed = set(PACKAGES) - set(decorated)
    if missed:
        raise SystemExit(f"no function was checked in {', '.join(sorted(missed))}")
