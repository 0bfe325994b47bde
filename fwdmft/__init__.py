"""Infinite-width theory of training, its finite-width fluctuations and bias, and ensembles to compare with.

    import fwdmft
    experiment = fwdmft.load_experiment("examples/digits_two_layer.yaml")
    result = fwdmft.run(experiment)          # an xarray.DataTree
    fwdmft.plot(result, "figures")

Importing this package loads neither JAX nor matplotlib and changes no setting of either: names are looked up
when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fwdmft.errors import ComputationError, InputError
from fwdmft.hookspecs import hookimpl

if TYPE_CHECKING:
    from fwdmft.estimating import estimate
    from fwdmft.executors.dask import dask_executor
    from fwdmft.experiment.model import load_experiment
    from fwdmft.plotting import plot
    from fwdmft.registry import ActivationFunction, Architecture, LossFunction
    from fwdmft.reporting import report
    from fwdmft.results.scores import agreement
    from fwdmft.results.write import open_result
    from fwdmft.running import run
    from fwdmft.sweeping.combined import open_sweep
    from fwdmft.sweeping.run import run_sweep
    from fwdmft.sweeping.spec import load_sweep

__version__ = "0.1.0"

_HOMES = {
    "ActivationFunction": "fwdmft.registry",
    "Architecture": "fwdmft.registry",
    "LossFunction": "fwdmft.registry",
    "agreement": "fwdmft.results.scores",
    "dask_executor": "fwdmft.executors.dask",
    "estimate": "fwdmft.estimating",
    "load_experiment": "fwdmft.experiment.model",
    "load_sweep": "fwdmft.sweeping.spec",
    "open_result": "fwdmft.results.write",
    "open_sweep": "fwdmft.sweeping.combined",
    "plot": "fwdmft.plotting",
    "report": "fwdmft.reporting",
    "run": "fwdmft.running",
    "run_sweep": "fwdmft.sweeping.run",
}

__all__ = [
    "ActivationFunction",
    "Architecture",
    "ComputationError",
    "InputError",
    "LossFunction",
    "__version__",
    "agreement",
    "dask_executor",
    "estimate",
    "hookimpl",
    "load_experiment",
    "load_sweep",
    "open_result",
    "open_sweep",
    "plot",
    "report",
    "run",
    "run_sweep",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fwdmft' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
