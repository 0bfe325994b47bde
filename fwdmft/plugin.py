"""Everything that a plugin imports from fwdmft. What is not named here may move between versions.

`fwdmft new-plugin NAME` writes a whole plugin to start from. An architecture is two short modules:

- A light one, named by an entry point of the group `fwdmft`: the schema (`ArchitectureSpec`, with pydantic's `Field`
  for every number that users may choose) and the hook (`hookimpl`), which returns an `Architecture`. It imports no JAX,
  so that experiments are read quickly: `deferred` names the function of the other module.
- field_equations(spec, parameterization, x, outputs) and the forward pass of the network, written once for its neurons
  with the operations of `Net`. `forward_program` makes the theory of it, and the networks too.

    def forward(net, x, spec, sigma_w):
        h = net.input("W", "hidden", x, sigma=sigma_w[0])
        _, v = net.layer("hidden", h, activation(spec.activation))
        return net.readout("w", "hidden", v, sigma=sigma_w[1])

    def field_equations(spec, parameterization, x, outputs):
        gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(depth=1)
        return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center)

spec is the section `architecture` of the experiment. x has the axes (point, *axes): `Architecture(axes=...)` has them,
("feature",) without it. `fwdmft check-plugin KIND`, or `fwdmft.testing` in pytest, checks it all.

Names
-----
architecture        `Architecture`, `ArchitectureSpec`, `ActivatedArchitecture`, `MOST_LAYERS`, `Observable`, `deferred`
forward programs    `Net` (start there), `forward_program`, `ForwardProgram`, `ProgramError`, `Stencil`, `activation`,
                    `Activation`, `kinked`
networks            `Network` (with `OfLayers`), `whole_neurons`: for architectures that bring an Equinox module of
                    their own
other schemas       `ParameterizationSpec`; `OptimizerSpec` with `Plan`; `DatasetSpec` with `Dataset`
numbers in schemas  `Real`, `NonNegativeReal`, `PositiveReal`, `Whole`, `Count`, `Steps`, `Seed`
observables of all  `ObservableFunction`, with an `Observable`
losses              `LossFunction`, with a `LossSpec`
activations         `ActivationFunction`
code of users       `by_the_user`, `warned_if_slow`: whose error it is, and what takes long
errors              `InputError` (bad input: field, value, expected), `ComputationError`
hooks               `hookimpl`; their names are in `fwdmft.hookspecs`

Importing this module does not import JAX: what needs it is looked up when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fwdmft.errors import ComputationError, InputError
from fwdmft.experiment.architecture import MOST_LAYERS, ActivatedArchitecture, ArchitectureSpec
from fwdmft.experiment.base import Count, NonNegativeReal, PositiveReal, Real, Seed, Steps, Whole
from fwdmft.experiment.data import DatasetSpec
from fwdmft.experiment.loss import LossSpec
from fwdmft.experiment.optimizer import OptimizerSpec
from fwdmft.experiment.parameterization import ParameterizationSpec
from fwdmft.hookspecs import hookimpl
from fwdmft.observables import Observable, ObservableFunction
from fwdmft.plugin_code import by_the_user, warned_if_slow
from fwdmft.registry import ActivationFunction, Architecture, LossFunction, deferred

if TYPE_CHECKING:
    from fwdmft.activations import Activation, activation, kinked
    from fwdmft.datasets import Dataset
    from fwdmft.engine.neurons import whole_neurons
    from fwdmft.engine.stencil import Stencil
    from fwdmft.networks.model import Network, OfLayers
    from fwdmft.optimization import Plan
    from fwdmft.program.building import forward_program
    from fwdmft.program.equations import ForwardProgram
    from fwdmft.program.net import Net
    from fwdmft.program.structure import ProgramError

_HOMES = {
    "Activation": "fwdmft.activations",
    "Dataset": "fwdmft.datasets",
    "ForwardProgram": "fwdmft.program.equations",
    "Net": "fwdmft.program.net",
    "Network": "fwdmft.networks.model",
    "OfLayers": "fwdmft.networks.model",
    "Plan": "fwdmft.optimization",
    "ProgramError": "fwdmft.program.structure",
    "Stencil": "fwdmft.engine.stencil",
    "activation": "fwdmft.activations",
    "forward_program": "fwdmft.program.building",
    "kinked": "fwdmft.activations",
    "whole_neurons": "fwdmft.engine.neurons",
}

__all__ = [
    "MOST_LAYERS",
    "ActivatedArchitecture",
    "Activation",
    "ActivationFunction",
    "Architecture",
    "ArchitectureSpec",
    "ComputationError",
    "Count",
    "Dataset",
    "DatasetSpec",
    "ForwardProgram",
    "InputError",
    "LossFunction",
    "LossSpec",
    "Net",
    "Network",
    "NonNegativeReal",
    "Observable",
    "ObservableFunction",
    "OfLayers",
    "OptimizerSpec",
    "ParameterizationSpec",
    "Plan",
    "PositiveReal",
    "ProgramError",
    "Real",
    "Seed",
    "Steps",
    "Stencil",
    "Whole",
    "activation",
    "by_the_user",
    "deferred",
    "forward_program",
    "hookimpl",
    "kinked",
    "warned_if_slow",
    "whole_neurons",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'fwdmft.plugin' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
