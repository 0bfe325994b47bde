"""Networks of two architectures that are the same network: q of one is q of the other."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from fwdmft.engine import neurons, simulation
from fwdmft.engine.dynamics import training_signal
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.simulation import Observing
from fwdmft.experiment.loss import SquaredError
from fwdmft.experiment.parameterization import MeanField
from fwdmft.optimization import Plan
from fwdmft.program.building import forward_program
from fwdmft.program.net import Net
from fwdmft.registry import registry
from fwdmft.testing.agreement import assert_equal

NEURONS, REPLICATES, STEPS = 1024, 6, 7
GAMMA0 = 1.2
SIGMAS = 5.0
"""Standard errors that no entry exceeds; six simulations have heavy tails."""

Computed = dict[str, np.ndarray]
RNG = np.random.default_rng(3)
Y = RNG.standard_normal((2, 1))


def plugged(spec: dict[str, Any], x: np.ndarray, sigma_w: float | tuple[float, ...] = 1.0) -> FieldEquations:
    """Field equations of an installed architecture."""
    architecture = registry().get("architecture", spec["kind"])
    parameterization = MeanField(gamma0=GAMMA0, sigma_w=sigma_w)
    return architecture.field_equations(architecture.spec.model_validate(spec), parameterization, x, 1)


def simulated(equations: FieldEquations, replicate: int = 0) -> Computed:
    """q from one large simulation."""

    def draw(equations: FieldEquations) -> dict[str, Array]:
        noise = neurons.sample(equations.populations, equations.supplies, NEURONS, 0, replicate)
        return {name: jnp.asarray(a) for name, a in noise.items()}

    training = training_signal(Plan(np.full(STEPS, 0.2)), SquaredError(), Y, np.array([True, False]), 2)
    actual = simulation.infinite_width(equations, draw, training, Observing())
    assert not isinstance(actual, simulation.Crowded)
    return actual.seen


Law = dict[str, tuple[np.ndarray, np.ndarray]]
"""q, and its squared standard error."""


def law(equations: FieldEquations) -> Law:
    """From several simulations."""
    parts = [simulated(equations, replicate) for replicate in range(REPLICATES)]
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    return {name: (a.mean(axis=0), a.var(axis=0, ddof=1) / REPLICATES) for name, a in stacked.items()}


def standard_errors(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """By how many they differ at most; what bases leave out counts as an error of 1e-4."""
    floor = 1e-4 * np.max(np.abs(one[0]))
    return float(np.max(np.abs(one[0] - other[0]) / np.sqrt(one[1] + other[1] + floor**2)))


def assert_same(one: Law, other: Law, names: tuple[str, ...]) -> None:
    """q within standard errors; neurons carry different numbers."""
    for name in names:
        apart = standard_errors(one[name], other[name])
        assert apart < SIGMAS, f"{name} differs by {apart:.1f} standard errors"


@pytest.fixture(autouse=True)
def _double(monkeypatch: pytest.MonkeyPatch) -> Any:
    import jax

    with jax.enable_x64(True):
        yield


def test_one_recurrent_step_is_a_two_layer_network() -> None:
    x = RNG.standard_normal((2, 1, 3))
    recurrent = simulated(plugged({"kind": "recurrent", "activation": "tanh", "bias": 0.4}, x))
    layers = simulated(plugged({"kind": "mlp", "activation": "tanh", "bias": 0.4}, x[:, 0]))
    for name in layers:
        assert_equal(name, recurrent[name], layers[name])


def untied(net: Net, x: Array, populations: tuple[str, ...]) -> Array:
    """A recurrent network with a matrix of its own at every step, which reads its input at the first."""
    h, v = net.layer(populations[0], net.input("U", populations[0], x), jnp.tanh)
    for step in range(1, len(populations)):
        source, target = populations[step - 1 : step + 1]
        h, v = net.layer(target, net.dense(f"W{step}", source, target, v), jnp.tanh)
    return net.readout("w", populations[-1], v)


def test_a_recurrent_network_with_untied_matrices_is_deep() -> None:
    """The same neurons at every step are as good as others: matrices are independent of each other."""
    x = RNG.standard_normal((2, 3))
    same = forward_program(untied, x, 1, GAMMA0, ("hidden",) * 3)
    deep = plugged({"kind": "deep", "depth": 3, "activation": "tanh"}, x)
    assert_same(law(same), law(deep), ("prediction", "feature_kernel", "gradient_kernel", "tangent_kernel"))


def test_larger_matrices_are_another_network() -> None:
    """So that the comparison above can fail."""
    x = RNG.standard_normal((2, 3))
    deep = [
        plugged({"kind": "deep", "depth": 3, "activation": "tanh"}, x, sigma_w=(1.0, 1.0, sigma, 1.0))
        for sigma in (1.0, 1.05)
    ]
    with pytest.raises(AssertionError, match="standard errors"):
        assert_same(law(deep[0]), law(deep[1]), ("tangent_kernel",))


def averaging(net: Net, x: Array, beta: float) -> Array:
    """Every token receives the mean over tokens."""
    h, v = net.layer("stream", net.input("U", "stream", x), jnp.tanh)
    mean = jnp.broadcast_to(jnp.mean(v, axis=1, keepdims=True), v.shape)
    h = h + beta * net.dense("V", "stream", "stream", mean)
    h = h + beta * net.dense("W", "stream", "stream", jnp.tanh(h))
    h, v = net.layer("stream", h, jnp.tanh)
    return net.readout("w", "stream", jnp.mean(v, axis=1))


def test_zero_scores_average_over_tokens() -> None:
    """Q = K = 0 stay zero in training, as each learns in proportion to the other."""
    x = RNG.standard_normal((2, 3, 2))
    spec = {"kind": "transformer", "activation": "tanh", "branch_scale": 0.8}
    attention = plugged(spec, x, sigma_w=(1.0, 1e-8, 1e-8, 1.0, 1.0, 1.0))
    mean = forward_program(averaging, x, 1, GAMMA0, 0.8)
    assert np.allclose(simulated(attention)["attention"], 1 / 3)
    assert_same(law(attention), law(mean), ("prediction", "feature_kernel", "tangent_kernel"))


def test_a_permutation_of_tokens_permutes_attention() -> None:
    x = 2 * np.random.default_rng(5).standard_normal((2, 3, 2))  # large enough for attention to change
    order = np.array([2, 0, 1])
    spec = {"kind": "transformer", "activation": "tanh", "branch_scale": 0.8}
    one, other = law(plugged(spec, x)), law(plugged(spec, x[:, order]))
    assert_same(one, other, ("prediction", "feature_kernel", "tangent_kernel"))
    first, second = one["attention"], other["attention"]
    moved = first[0][..., order, :][..., order], first[1][..., order, :][..., order]
    assert standard_errors(second, moved) < SIGMAS
    assert standard_errors(second, first) > SIGMAS, "tokens do not attend differently"
