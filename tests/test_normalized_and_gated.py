"""Deep networks of finite width with normalisation and gates, against their equations and finite differences."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.registry import registry
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import assert_equal
from fwdmft.testing.networks import LAWS
from fwdmft_deep.model import DeepNetwork

WIDTH, GAMMA0, DEPTH, SIGMA_B = 6, 1.5, 3, 0.4
DATA = points(2, 4, outputs=2)
KINDS = [
    {"normalization": "layer"},
    {"normalization": "rms", "branch_scale": 0.7},
    {"gate": True, "width_ratios": [1.0, 0.5, 1.5]},
    {"normalization": "layer", "gate": True, "branch_scale": 0.7},
]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def case(**spec: Any) -> Case:
    parameterization = MeanField(gamma0=GAMMA0, sigma_w=(1.2, 1.5, 1.1, 0.8))
    settings = {"kind": "deep", "activation": "tanh", "depth": DEPTH, "bias": SIGMA_B, **spec}
    return Case("deep", registry().get("architecture", "deep"), settings, *DATA, parameterization)


def network(**spec: Any) -> DeepNetwork:
    return case(**spec).build(WIDTH, jax.random.key(3))


def by_hand(model: DeepNetwork, spec: dict[str, Any], x: jax.Array, shifts: Any) -> tuple[jax.Array, list[jax.Array]]:
    """The equations of the schema and the issue: f and the features of every layer."""
    v, h, actual = x, 0.0, []
    for layer in range(DEPTH):
        arriving = model.weights[layer] @ v / jnp.sqrt(v.size) + SIGMA_B * model.biases[layer]
        residual = layer > 0 and "branch_scale" in spec
        h = (h + spec["branch_scale"] * arriving if residual else arriving) + shifts[layer]
        read = h - (h.sum() / h.size if spec.get("normalization") == "layer" else 0.0)
        if "normalization" in spec:
            read = read / ((read @ read) / h.size + 1e-6) ** 0.5
        gate = model.gates[layer] @ v / jnp.sqrt(v.size) if spec.get("gate") else 1.0
        v = jnp.tanh(read) * gate
        actual.append(v)
    return model.weights[DEPTH] @ v / (GAMMA0 * v.size), actual


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws_of_networks(law: Any) -> None:
    law(case(**KINDS[3]))


@pytest.mark.parametrize("spec", KINDS, ids=str)
def test_against_the_equations(spec: dict[str, Any]) -> None:
    """Features, and the tangent kernel, which is the sum over all parameters, those of gates included."""
    model, x = network(**spec), jnp.asarray(DATA[0])
    parameters, static = eqx.partition(model, eqx.is_array)

    def f(parameters: DeepNetwork, x: jax.Array) -> jax.Array:
        return by_hand(eqx.combine(parameters, static), spec, x, model.shifts())[0]

    jacobian = jax.jit(jax.vmap(jax.jacobian(f), in_axes=(None, 0)))(parameters, x)
    rows = jnp.concatenate([leaf.reshape(2, 2, -1) for leaf in jax.tree.leaves(jacobian)], axis=2)
    actual = jax.jit(lambda x: empirical_kernels(model, x, GAMMA0, WIDTH))(x)
    assert_equal("K", actual["tangent_kernel"], GAMMA0**2 * WIDTH * jnp.einsum("mcp,ndp->mcnd", rows, rows))
    for point in x:
        _, features = model.trace(point, model.shifts())
        for layer, expected in zip(features, by_hand(model, spec, point, model.shifts())[1], strict=True):
            assert_equal("features", layer, expected)


@pytest.mark.parametrize("spec", KINDS[1::2], ids=str)
def test_gradients_are_in_preactivations_before_they_are_normalised(spec: dict[str, Any]) -> None:
    """Against central differences, of relative error step^2 and rounding / step, both far below 1e-6."""
    model, x, step = network(**spec), jnp.asarray(DATA[0][0]), 1e-5
    shifted = jax.jit(lambda shifts: by_hand(model, spec, x, shifts)[0])
    kernel = empirical_kernels(model, x[None], GAMMA0, WIDTH)["gradient_kernel"]
    for layer, zero in enumerate(model.shifts()):
        ups = [list(model.shifts()) for _ in range(2 * zero.size)]
        for neuron in range(zero.size):
            for sign in (0, 1):
                ups[2 * neuron + sign][layer] = zero.at[neuron].set(step * (1 - 2 * sign))
        f = np.array([shifted(tuple(up)) for up in ups]).reshape(zero.size, 2, 2)
        g = GAMMA0 * WIDTH * (f[:, 0] - f[:, 1]) / (2 * step)
        np.testing.assert_allclose(kernel[layer, 0, :, 0], g.T @ g / zero.size, rtol=1e-6, atol=1e-6)


def test_gates_are_frozen_with_the_weights_beside_them() -> None:
    model = network(gate=True, frozen=[1, 3])
    trained = model.trained()
    assert (trained.weights, trained.gates, trained.biases) == ((True, False, True, False), *[(True, False, True)] * 2)


def test_gates_leave_the_other_weights_as_they_were() -> None:
    one, other = network(), network(gate=True)
    for first, second in zip(one.weights + one.biases, other.weights + other.biases, strict=True):
        np.testing.assert_array_equal(first, second)
    assert [gate.shape for gate in other.gates] == [weight.shape for weight in other.weights[:-1]]
    stds = [float(gate.std() / sigma) for gate, sigma in zip(other.gates, (1.2, 1.5, 1.1), strict=True)]
    errors = [1 / np.sqrt(2 * gate.size) for gate in other.gates]
    assert all(abs(std - 1) < 4 * error for std, error in zip(stds, errors, strict=True))
