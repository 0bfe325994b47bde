"""Recurrent networks of finite width against networks they must be equal to, and against explicit sums."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import experiment

import fwdmft
from fwdmft.datasets.loading import load_points
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.preparing import prepare
from fwdmft.registry import registry
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import assert_equal
from fwdmft.testing.networks import LAWS
from fwdmft_deep.model import DeepNetwork
from fwdmft_mlp.model import TwoLayer
from fwdmft_recurrent.model import RecurrentNetwork

WIDTH, STEPS, FEATURES, GAMMA0 = 7, 3, 4, 1.5
_, Y, TRAIN = points(3, 1, outputs=2)
X = np.random.default_rng(1).standard_normal((3, STEPS, FEATURES))


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def case(x: np.ndarray = X, sigma_w: Any = (1.2, 1.5, 0.8), **spec: Any) -> Case:
    parameterization = MeanField(gamma0=GAMMA0, sigma_w=sigma_w)
    architecture = registry().get("architecture", "recurrent")
    return Case("recurrent", architecture, {"kind": "recurrent", **spec}, x, Y, TRAIN, parameterization)


def network(x: np.ndarray = X, **spec: Any) -> RecurrentNetwork:
    return case(x, **spec).build(WIDTH, jax.random.key(3))


def _kernels(model: Any, x: np.ndarray) -> dict[str, jax.Array]:
    return jax.jit(lambda x: empirical_kernels(model, x, GAMMA0, WIDTH))(jnp.asarray(x))


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws_of_networks(law: Any) -> None:
    law(case(bias=0.5, readout="mean"))


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_one_step_is_a_two_layer_network(readout: str) -> None:
    x = X[:, :1]
    recurrent = network(x, readout=readout, bias=0.6)
    shared = {name: getattr(recurrent, name) for name in ("w", "b", "gamma0", "sigma_b", "phi")}
    one, other = _kernels(recurrent, x), _kernels(TwoLayer(W=recurrent.U, **shared), x[:, 0])
    for name in one:
        assert_equal(name, one[name], other[name])


def test_without_later_inputs_it_is_a_deep_network_of_equal_matrices() -> None:
    x = X * (np.arange(STEPS) == 0)[:, None]
    tied = network(x, bias=0.6)
    weights = (tied.U, *[tied.W] * (STEPS - 1), tied.w)
    shared = {name: getattr(tied, name) for name in ("gamma0", "sigma_b", "phi")}
    deep = DeepNetwork(
        weights, (), (tied.b,) * STEPS, branch=None, normalization="none", is_trained=(True,) * (STEPS + 1), **shared
    )
    one, other = _kernels(tied, x), _kernels(deep, x[:, 0])
    for name in ("feature_kernel", "gradient_kernel"):
        assert_equal(name, one[name], other[name])
    assert_equal("prediction", jax.vmap(tied)(x), jax.vmap(deep)(x[:, 0]))


def test_mean_readout_is_the_mean_over_beginnings() -> None:
    model = network(readout="mean", bias=0.6)
    beginnings = [replace(model, steps=t, averages=False) for t in range(1, STEPS + 1)]
    for x in jnp.asarray(X):
        assert_equal("f", model(x), sum(one(x[: one.steps]) for one in beginnings) / STEPS)


def test_tangent_kernel_is_the_sum_over_all_parameters() -> None:
    """Of the equations as they are written down, differentiated in every parameter."""
    model = network(bias=0.6)

    def f(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.zeros(WIDTH)
        for t in range(STEPS):
            recurrent = parameters["W"] @ jnp.tanh(h) / WIDTH**0.5 if t > 0 else 0.0
            h = recurrent + parameters["U"] @ x[t] / FEATURES**0.5 + 0.6 * parameters["b"]
        return parameters["w"] @ jnp.tanh(h) / (GAMMA0 * WIDTH)

    parameters = {name: getattr(model, name) for name in ("U", "W", "w", "b")}
    jacobian = jax.jit(jax.vmap(jax.jacobian(f), in_axes=(None, 0)))(parameters, jnp.asarray(X))
    rows = jnp.concatenate([leaf.reshape(len(X), 2, -1) for leaf in jacobian.values()], axis=2)
    expected = GAMMA0**2 * WIDTH * jnp.einsum("mcp,ndp->mcnd", rows, rows)
    assert_equal("K", _kernels(model, X)["tangent_kernel"], expected)


def test_scales_of_weights_are_in_order() -> None:
    one, scaled = (case(sigma_w=sigma_w).build(WIDTH, jax.random.key(3)) for sigma_w in (1.0, (2.0, 3.0, 5.0)))
    for name, factor in (("U", 2.0), ("W", 3.0), ("w", 5.0)):
        assert_equal(name, getattr(scaled, name), factor * getattr(one, name))


def _message(**changes: Any) -> str:
    spec = experiment(architecture={"kind": "recurrent"}, theory=None, **changes)
    with pytest.raises(fwdmft.InputError) as refusal:
        prepare(fwdmft.load_experiment(spec))
    return str(refusal.value)


def test_refusals() -> None:
    rows = {"kind": "gaussian", "features": 3}
    expected = "data.x: got (48, 3); expected 3 dimensions (point, step, feature) for architecture recurrent"
    assert _message(data=rows) == expected
    long = {"kind": "sequences", "task": "integration", "length": 257, "features": 1}
    assert _message(data=long) == "data.x: got (48, 257, 1); expected at most 256 steps for architecture recurrent"
    wrong = {"kind": "mean_field", "sigma_w": [1, 1]}
    assert "expected one number, or a list of 3" in _message(parameterization=wrong, data=long | {"length": 2})


def test_rows_of_all_steps_for_others() -> None:
    data = {"kind": "sequences", "task": "integration", "length": 5, "features": 3}
    dense = fwdmft.load_experiment(experiment(data=data))
    assert load_points(dense).x.shape == (48, 15)
