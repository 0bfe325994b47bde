"""What fwdmft itself registers, through the same hooks as any plugin."""

from __future__ import annotations

from fwdmft.experiment.data import DatasetSpec, FileData
from fwdmft.experiment.images import Cifar10Data, DigitsData, PhotoPatchesData
from fwdmft.experiment.loss import Logistic, SoftmaxCrossEntropy, SquaredError
from fwdmft.experiment.optimizer import GradientDescent, GradientFlow, OptimizerSpec
from fwdmft.experiment.parameterization import MeanField, NeuralTangent, ParameterizationSpec
from fwdmft.experiment.random_inputs import GaussianData, InContextRegressionData, SequencesData, SphereData
from fwdmft.hookspecs import hookimpl
from fwdmft.registry import ActivationFunction, LossFunction, deferred


@hookimpl
def fwdmft_parameterizations() -> list[type[ParameterizationSpec]]:
    return [MeanField, NeuralTangent]


@hookimpl
def fwdmft_optimizers() -> list[type[OptimizerSpec]]:
    return [GradientDescent, GradientFlow]


@hookimpl
def fwdmft_losses() -> list[LossFunction]:
    kinds = (SquaredError, Logistic, SoftmaxCrossEntropy)
    return [LossFunction(kind, deferred("fwdmft.losses", str(kind.model_fields["kind"].default))) for kind in kinds]


@hookimpl
def fwdmft_activations() -> list[ActivationFunction]:
    names = ("linear", "tanh", "erf", "relu", "softplus", "gelu")
    return [ActivationFunction(one, deferred("fwdmft.activations", one), kinked=one == "relu") for one in names]


@hookimpl
def fwdmft_datasets() -> list[type[DatasetSpec]]:
    return [
        FileData,
        DigitsData,
        PhotoPatchesData,
        Cifar10Data,
        GaussianData,
        SphereData,
        SequencesData,
        InContextRegressionData,
    ]
