"""Everything a plugin can provide: one function per kind of thing.

A plugin is a module named by an entry point in the group `fwdmft`. It implements any of these functions,
marked with `@fwdmft.hookimpl`. Each returns a list; the `kind` of every item must be new among all installed
plugins. Keep the module light: import JAX inside the callables, so that listing and validating stay fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from fwdmft.experiment.data import DatasetSpec
    from fwdmft.experiment.optimizer import OptimizerSpec
    from fwdmft.experiment.parameterization import ParameterizationSpec
    from fwdmft.observables import ObservableFunction
    from fwdmft.registry import ActivationFunction, Architecture, LossFunction

PROJECT = "fwdmft"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def fwdmft_architectures() -> list[Architecture]:  # type: ignore[empty-body]
    """Architectures: schema, field equations and finite-width model of each."""


@hookspec
def fwdmft_parameterizations() -> list[type[ParameterizationSpec]]:  # type: ignore[empty-body]
    """Parameterizations: how initial weights and feature learning scale with width."""


@hookspec
def fwdmft_optimizers() -> list[type[OptimizerSpec]]:  # type: ignore[empty-body]
    """Optimizers: a schema each, whose `plan` turns it into a sequence of update rules."""


@hookspec
def fwdmft_datasets() -> list[type[DatasetSpec]]:  # type: ignore[empty-body]
    """Data sets: a schema each, whose `load` returns a `fwdmft.datasets.Dataset`."""


@hookspec
def fwdmft_losses() -> list[LossFunction]:  # type: ignore[empty-body]
    """Losses: a schema and the loss of one point each."""


@hookspec
def fwdmft_activations() -> list[ActivationFunction]:  # type: ignore[empty-body]
    """Activation functions, by names that `architecture.activation` can have."""


@hookspec
def fwdmft_observables() -> list[ObservableFunction]:  # type: ignore[empty-body]
    """Observables of every architecture: functions of the usual order parameters."""
