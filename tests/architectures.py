"""The table of architectures: every law of `fwdmft.testing` is checked for every row."""

from typing import Any

import numpy as np

from fwdmft.experiment.loss import SoftmaxCrossEntropy
from fwdmft.experiment.optimizer import GradientDescent
from fwdmft.experiment.parameterization import MeanField, NeuralTangent
from fwdmft.experiment.schedule import Minibatches
from fwdmft.registry import registry
from fwdmft.testing import Case, points

Data = tuple[np.ndarray, np.ndarray, np.ndarray]

POINTS = points(3, 5)
TWO_POINTS = points(2, 5)


def mlp(
    name: str, data: Data = POINTS, bias: float = 0.0, scale: float = 1.0, gain: float = 1.0, **settings: Any
) -> Case:
    """A two-layer network; its name starts with the activation.

    16 times `few` are `neurons`, so that samplings of the laws of errors are shared.
    """
    spec = {"kind": "mlp", "activation": name.split("-")[0], "bias": bias, "scale": scale, "gain": gain}
    sizes = {"few": 256, "neurons": 1 << 12, "members": (5000, 5000)}
    return Case(f"mlp-{name}", registry().get("architecture", "mlp"), spec, *data, **(sizes | settings))


def deep(name: str, depth: int, architecture: dict[str, Any], data: Data = TWO_POINTS, **settings: Any) -> Case:
    """A deep network. Its law has larger coefficients of 1/N, hence larger widths; its bases need more neurons."""
    spec = {"kind": "deep", "depth": depth, **architecture}
    sizes = {"few": 256, "neurons": 1 << 11, "widths": (32, 96), "members": (2000, 2000)}
    return Case(f"deep-{name}", registry().get("architecture", "deep"), spec, *data, **(sizes | settings))


def cnn(name: str, architecture: dict[str, Any], shape: tuple[int, int, int], **settings: Any) -> Case:
    """A convolutional network on two images (height, width, channel)."""
    spec = {"kind": "cnn", **architecture}
    x, y, train = points(2, int(np.prod(shape)))
    images = x.reshape(2, *shape)
    sizes = {"few": 256, "neurons": 1 << 11, "widths": (32, 96), "members": (1500, 1000)}
    return Case(f"cnn-{name}", registry().get("architecture", "cnn"), spec, images, y, train, **(sizes | settings))


def sequences(kind: str, name: str, architecture: dict[str, Any], shape: tuple[int, int], **settings: Any) -> Case:
    """A recurrent network or a transformer on two points (step or token, feature)."""
    spec = {"kind": kind, **architecture}
    x, y, train = points(2, int(np.prod(shape)))
    # Products of steps or tokens make the law wider: larger widths.
    sizes = {"few": 256, "neurons": 1 << 11, "widths": (32, 96), "members": (2000, 1500)}
    rows = x.reshape(2, *shape)
    return Case(f"{kind}-{name}", registry().get("architecture", kind), spec, rows, y, train, **(sizes | settings))


def classes(data: Data) -> Data:
    """The same points with probabilities of classes as targets."""
    x, y, train = data
    return x, np.exp(y) / np.exp(y).sum(axis=1, keepdims=True), train


CASES = (
    mlp("tanh", optimizer=GradientDescent(learning_rate=0.4, steps=13)),
    mlp(
        "erf-bias",
        bias=0.5,
        scale=0.5,
        parameterization=MeanField(sigma_w=(1.2, 0.8)),
        optimizer=GradientDescent(learning_rate=0.1, steps=13, momentum=0.5, weight_decay=0.1),
    ),
    # At larger steps the kernels of ReLU networks vary by more than N^(-1/2), as neurons jump back and forth.
    mlp("relu", gain=2**0.5, smooth=False, optimizer=GradientDescent(learning_rate=0.06, steps=13)),
    mlp("linear-lazy", parameterization=NeuralTangent(), optimizer=GradientDescent(learning_rate=0.2, steps=13)),
    mlp(
        "softplus-outputs",
        data=classes(points(3, 5, outputs=2)),
        parameterization=MeanField(center=False),
        loss=SoftmaxCrossEntropy(),
        optimizer=GradientDescent(learning_rate=0.4, steps=13, batch=Minibatches(size=1)),
    ),
    deep(
        "residual",
        2,
        {"activation": "tanh", "bias": 0.4, "branch_scale": 0.7},
        neurons=1 << 12,  # those of `error_bars_shrink_with_more_neurons`, whose samplings are shared
        parameterization=MeanField(gamma0=1.5, sigma_w=(1.2, 1.5, 0.8)),
        optimizer=GradientDescent(learning_rate=0.1, steps=9, momentum=0.5, weight_decay=0.1),
    ),
    cnn(
        "pooled",
        {"depth": 2, "activation": "tanh", "kernel_size": 2, "pooling": "average", "bias": 0.3},
        (4, 4, 1),
        parameterization=MeanField(gamma0=1.5, sigma_w=(1.2, 1.5, 0.8)),
        optimizer=GradientDescent(learning_rate=0.15, steps=7),
        save_every=3,
    ),
    deep(
        "normalized-gated",
        2,
        {"activation": "tanh", "normalization": "layer", "gate": True},
        optimizer=GradientDescent(learning_rate=0.1, steps=7),
        save_every=3,
    ),
    sequences(
        "recurrent",
        "mean",
        {"activation": "tanh", "bias": 0.3, "readout": "mean"},
        (3, 2),
        parameterization=MeanField(sigma_w=(1.2, 1.1, 0.9)),
        optimizer=GradientDescent(learning_rate=0.15, steps=7, momentum=0.5),
        save_every=3,
    ),
    sequences(
        "transformer",
        "causal",
        {"activation": "tanh", "causal": True, "branch_scale": 0.7},
        (2, 3),
        parameterization=MeanField(gamma0=1.5),
        optimizer=GradientDescent(learning_rate=0.1, steps=7),
        save_every=3,
    ),
    sequences(
        "transformer",
        "heads",
        {
            "activation": "tanh",
            "heads": "infinite",
            "key_size": 2,
            "scores": "linear",
            "mlp": False,
            "branch_scale": 0.7,
        },
        (2, 3),
        parameterization=MeanField(gamma0=1.5),
        optimizer=GradientDescent(learning_rate=0.1, steps=7),
        save_every=3,
    ),
)

MORE = (
    sequences(
        "recurrent",
        "relu",
        {"activation": "relu", "gain": 2**0.5},
        (3, 2),
        smooth=False,
        optimizer=GradientDescent(learning_rate=0.05, steps=7),
        save_every=3,
    ),
    sequences(
        "transformer",
        "two-blocks",
        {"activation": "tanh", "depth": 2, "mlp": False, "branch_scale": 0.7},
        (2, 3),
        optimizer=GradientDescent(learning_rate=0.1, steps=7),
        save_every=3,
    ),
    deep(
        "rms",
        3,
        {"activation": "tanh", "normalization": "rms"},
        optimizer=GradientDescent(learning_rate=0.1, steps=7),
        save_every=3,
    ),
)
"""Other settings of these architectures, for the laws that cost least."""

CHEAP = (
    "observables_have_the_declared_dimensions",
    "copying_neurons_changes_nothing",
    "forward_predicts_what_is_observed",
    "a_first_step_follows_the_tangent_kernel",
    "calling_is_tracing_without_shifts",
    "initial_weights_are_independent_normal",
    "networks_of_draws_are_those_of_the_builder",
)
"""Laws that need no ensembles besides those of draws, nor several simulations."""
