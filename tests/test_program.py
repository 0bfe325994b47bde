"""Forward programs: their training, and their networks, against networks that are written by hand and `jax.grad`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fwdmft.engine import explicit_matrix
from fwdmft.engine.update import Update, at_rest
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.model import Network
from fwdmft.program.building import forward_program
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.net import Net
from fwdmft.program.state import ProgramState
from fwdmft.program.structure import structure
from fwdmft.testing.agreement import assert_equal
from fwdmft_cnn import equations as of_cnn
from fwdmft_cnn import model as cnn
from fwdmft_cnn.schema import Cnn
from fwdmft_deep import equations as of_deep
from fwdmft_deep import model as deep
from fwdmft_deep.schema import Deep
from fwdmft_recurrent import equations as of_recurrent
from fwdmft_recurrent import model as recurrent
from fwdmft_recurrent.schema import Recurrent
from fwdmft_transformer import equations as of_transformer
from fwdmft_transformer import model as transformer
from fwdmft_transformer.schema import Transformer

X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


GAMMA0, WIDTH, OUTPUTS, STEPS = 1.3, 6, 2, 3
MEAN_FIELD = MeanField(gamma0=GAMMA0)
RATE, MOMENTUM, DECAY = 0.3, 0.4, 0.1
Y = np.random.default_rng(1).standard_normal((3, OUTPUTS))
TRAIN = np.array([[1.0], [1.0], [0.0]])


@dataclass
class Weights:
    """Of a network, as the program names them: inputs (neuron, feature), matrices (offset, out, in), readouts
    (output, site, neuron). numbers: of every neuron, and biases of input weights by the name of these."""

    inputs: dict[str, Array]
    matrices: dict[str, Array]
    readouts: dict[str, Array]
    numbers: dict[str, Array]


Pair = tuple[ForwardProgram, Network, np.ndarray, Weights]


def of_layers(spec: Deep) -> Pair:
    equations = of_deep.field_equations(spec, MEAN_FIELD, X, OUTPUTS)
    network = deep.model(spec, MEAN_FIELD, X, OUTPUTS, WIDTH, jax.random.key(0))
    inputs, matrices = {"0": network.weights[0]}, {str(m): w[None] for m, w in enumerate(network.weights[1:-1], 1)}
    if network.gates:
        inputs["gate_0"] = network.gates[0]
        matrices |= {f"gate_{m}": w[None] for m, w in enumerate(network.gates[1:], 1)}
    numbers = {"0" if layer == 0 else f"bias_{layer}": spec.bias * b for layer, b in enumerate(network.biases)}
    return equations, network, X, Weights(inputs, matrices, {"readout": network.weights[-1][:, None]}, numbers)


def of_images(spec: Cnn) -> Pair:
    x = np.random.default_rng(2).standard_normal((3, 4, 4, 2))
    equations = of_cnn.field_equations(spec, MEAN_FIELD, x, OUTPUTS)
    network = cnn.model(spec, MEAN_FIELD, x, OUTPUTS, WIDTH, jax.random.key(0))
    banks = [jnp.moveaxis(kernel.reshape(-1, *kernel.shape[2:]), 2, 1) for kernel in network.kernels]
    first = jnp.moveaxis(banks[0], 0, 2).reshape(WIDTH, -1)
    numbers = {"0" if layer == 0 else f"bias_{layer}": spec.bias * b for layer, b in enumerate(network.biases)}
    matrices = {str(layer): bank for layer, bank in enumerate(banks[1:], 1)}
    return equations, network, x, Weights({"0": first}, matrices, {"readout": network.readout}, numbers)


def of_sequences(spec: Recurrent) -> Pair:
    x = np.random.default_rng(2).standard_normal((3, 4, 3))
    equations = of_recurrent.field_equations(spec, MEAN_FIELD, x, OUTPUTS)
    network = recurrent.model(spec, MEAN_FIELD, x, OUTPUTS, WIDTH, jax.random.key(0))
    numbers = {} if network.b is None else {"U": spec.bias * network.b}
    return equations, network, x, Weights({"U": network.U}, {"W": network.W[None]}, {"w": network.w[:, None]}, numbers)


def of_tokens(spec: Transformer) -> Pair:
    x = np.random.default_rng(2).standard_normal((3, 3, 4))
    equations = of_transformer.field_equations(spec, MEAN_FIELD, x, OUTPUTS)
    network = transformer.model(spec, MEAN_FIELD, x, OUTPUTS, WIDTH, jax.random.key(0))
    named = {f"{k}_{b}": getattr(block, k) for b, block in enumerate(network.blocks, 1) for k in "QKVW"}
    matrices = {name: w[None] for name, w in named.items() if w is not None}
    return equations, network, x, Weights({"U": network.U}, matrices, {"w": network.w[:, None]}, {})


def toy(net: Net, x: Array) -> Array:
    """Two matrices into one population, one of them used twice, a gate by an average, readouts of two populations."""
    left, u = net.layer("left", net.input("A", "left", x, bias=0.3), jnp.tanh)
    _, v = net.layer("right", net.input("B", "right", x), jnp.sin)
    h = net.dense("P", "left", "joint", u) + net.vector("gain", "joint", scale=0.7) * net.dense(
        "Q", "right", "joint", v
    )
    h = h + 0.5 * net.dense("P", "left", "joint", jnp.sin(left))
    gate = jax.nn.sigmoid(net.average("left", u * left))
    net.observe("gate", ("point",), gate)
    _, w = net.layer("joint", h, lambda h: gate[:, None] * jnp.tanh(h))
    return net.readout("r", "joint", w) + net.readout("s", "right", v)


class Toy(Network):
    """The same for single points."""

    A: Array
    a: Array
    B: Array
    P: Array
    Q: Array
    gain: Array
    r: Array
    s: Array

    def __call__(self, x: Array) -> Array:
        return self.trace(x, self.shifts())[0]

    def shifts(self) -> tuple[Array, ...]:
        return tuple(jnp.zeros(len(w)) for w in (self.A, self.B, self.P))

    def trace(self, x: Array, shifts: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        left = self.A @ x / len(x) ** 0.5 + 0.3 * self.a + shifts[0]
        u, v = jnp.tanh(left), jnp.sin(self.B @ x / len(x) ** 0.5 + shifts[1])
        h = self.P @ (u + 0.5 * jnp.sin(left)) / len(u) ** 0.5 + 0.7 * self.gain * (self.Q @ v) / len(v) ** 0.5
        w = jax.nn.sigmoid(jnp.mean(u * left)) * jnp.tanh(h + shifts[2])
        return (self.r @ w / len(w) + self.s @ v / len(v)) / GAMMA0, (u, v, w)

    def observables(self, x: Array) -> dict[str, Array]:
        left = self.A @ x / len(x) ** 0.5 + 0.3 * self.a
        return {"gate": jax.nn.sigmoid(jnp.mean(jnp.tanh(left) * left))}


def of_toys() -> Pair:
    equations = forward_program(toy, X, OUTPUTS, GAMMA0, widths={"right": 2.0, "joint": 0.5})
    left, right, joint, features = WIDTH, 2 * WIDTH, WIDTH // 2, X.shape[1]
    shapes = [(left, features), (left,), (right, features), (joint, left), (joint, right), (joint,)]
    keys = jax.random.split(jax.random.key(0), len(shapes) + 2)
    drawn = zip(keys, [*shapes, (OUTPUTS, joint), (OUTPUTS, right)], strict=True)
    net = Toy(*(jax.random.normal(key, shape) for key, shape in drawn))
    readouts = {"r": net.r[:, None], "s": net.s[:, None]}
    numbers = {"A": 0.3 * net.a, "gain": 0.7 * net.gain}
    return equations, net, X, Weights({"A": net.A, "B": net.B}, {"P": net.P[None], "Q": net.Q[None]}, readouts, numbers)


def without_inputs(net: Net, x: Array) -> Array:
    """Neurons that know the points through numbers of their own alone, and others that know them through an average."""
    h = jnp.sum(net.vector("A", "left", (x.shape[1],)) * x[:, :, None], axis=1)
    h, v = net.layer("left", h, jnp.tanh)
    k = net.vector("slope", "right", mean=0.5) * net.average("left", v * h)[:, None] + net.vector("shift", "right")
    _, u = net.layer("right", k, jnp.sin)
    return net.readout("r", "left", v) + net.readout("s", "right", u)


class WithoutInputs(Network):
    """The same for single points."""

    A: Array
    slope: Array
    shift: Array
    r: Array
    s: Array

    def __call__(self, x: Array) -> Array:
        return self.trace(x, self.shifts())[0]

    def shifts(self) -> tuple[Array, ...]:
        return jnp.zeros(self.A.shape[1]), jnp.zeros(len(self.slope))

    def trace(self, x: Array, shifts: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        h = x @ self.A + shifts[0]
        v = jnp.tanh(h)
        u = jnp.sin(self.slope * jnp.mean(v * h) + self.shift + shifts[1])
        return (self.r @ v + self.s @ u) / (GAMMA0 * WIDTH), (v, u)


def of_numbers() -> Pair:
    equations = forward_program(without_inputs, X, OUTPUTS, GAMMA0)
    shapes = (X.shape[1], WIDTH), (WIDTH,), (WIDTH,), (OUTPUTS, WIDTH), (OUTPUTS, WIDTH)
    keys = jax.random.split(jax.random.key(0), len(shapes))
    net = WithoutInputs(*(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)))
    numbers = {"A": net.A, "slope": net.slope, "shift": net.shift}
    return equations, net, X, Weights({}, {}, {"r": net.r[:, None], "s": net.s[:, None]}, numbers)


PAIRS: dict[str, Callable[[], Pair]] = {
    "residual": lambda: of_layers(Deep(depth=3, bias=0.3, branch_scale=0.7)),
    "frozen": lambda: of_layers(Deep(depth=3, bias=0.2, width_ratios=(1.0, 2.0, 0.5), frozen=(1,))),
    "normalised": lambda: of_layers(Deep(depth=2, width_ratios=(2.0, 0.5), normalization="layer", gate=True)),
    "pooled": lambda: of_images(Cnn(depth=2, bias=0.2, kernel_size=2, pooling="average")),
    "strided": lambda: of_images(Cnn(depth=2, stride=2, readout="global_average")),
    "read at every position": lambda: of_images(Cnn(depth=1, kernel_size=2)),
    "recurrent": lambda: of_sequences(Recurrent(bias=0.3, readout="mean")),
    "attention": lambda: of_tokens(Transformer(depth=2)),
    "causal": lambda: of_tokens(Transformer(depth=1, scores="linear", causal=True, mlp=False, branch_scale=0.7)),
    "toy": of_toys,
    "without inputs": of_numbers,
}


@pytest.mark.parametrize("name", PAIRS)
def test_networks_are_trained_by_their_gradients(name: str) -> None:
    """f, K, Phi, G and what else is observed, over several steps with momentum and weight decay, to rounding."""
    equations, network, x, weights = PAIRS[name]()
    state, noise = posed(equations, weights, x)
    origin = jax.vmap(network)(x)
    update = Update(jnp.asarray(RATE), MOMENTUM, DECAY)

    @jax.jit
    def step(state: ProgramState) -> tuple[ProgramState, dict[str, Array]]:
        state, fields = equations.forward(state, noise)
        seen = equations.observe(equations.sites(fields))
        return equations.step(state, fields, TRAIN * (Y - fields.f), update), seen

    for expected in gradient_descent(network, x, update):
        state, actual = step(state)
        actual["prediction"] += origin
        assert set(actual) == set(expected) == set(equations.dims)
        for each, value in expected.items():
            assert_equal(each, np.asarray(actual[each]), np.asarray(value))


@pytest.mark.parametrize("name", PAIRS)
def test_networks_of_programs_are_those_written_by_hand(name: str) -> None:
    """f, Phi, G and what else is observed, of the module that comes with a program."""
    equations, network, x, weights = PAIRS[name]()
    seen, numbers = equations.structure, weights.numbers
    of_program = replace(
        equations.network(WIDTH, GAMMA0, jax.random.key(1)),
        inputs={e.name: (weights.inputs[e.name], numbers[e.name] / e.bias if e.bias else None) for e in seen.inputs},
        matrices=weights.matrices,
        vectors={each.name: numbers[each.name] / each.scale for each in seen.vectors},
        readouts=weights.readouts,
    )
    actual, expected = (eqx.filter_jit(observed)(each, x) for each in (of_program, network))
    assert set(actual) == set(expected)
    for each, value in expected.items():
        assert_equal(each, np.asarray(actual[each]), np.asarray(value))


def test_weights_may_be_named_like_operations() -> None:
    """Names of weights are free: these are not taken for layers and averages, which are counted as well."""

    def forward(net: Net, x: Array) -> Array:
        h = net.input("layer", "hidden", x)
        h, v = net.layer("hidden", h - net.average("hidden", h)[:, None], jnp.tanh)
        z = net.dense("average", "hidden", "hidden", v)
        return net.readout("readout", "hidden", z - net.average("hidden", z)[:, None])

    network = forward_program(forward, X, OUTPUTS, GAMMA0).network(WIDTH, GAMMA0, jax.random.key(0))
    assert network(X[0]).shape == (OUTPUTS,)


def test_the_example_of_the_pages() -> None:
    """Its network is the one that its schema describes."""
    page = Path(__file__).parent.parent / "docs" / "howto" / "own_architecture.md"
    (source,) = re.findall(r"```python\n(# fwdmft_sine/forward.py.*?)```", page.read_text("utf-8"), re.DOTALL)
    actual: dict[str, Any] = {}
    exec(source, actual)
    equations = actual["field_equations"](SimpleNamespace(frequency=2.0), MEAN_FIELD, X, OUTPUTS)
    network = equations.network(WIDTH, GAMMA0, jax.random.key(0))
    h = X @ network.inputs["W"][0].T / X.shape[1] ** 0.5
    f = np.sin(2 * h) / 2 @ network.readouts["w"][:, 0].T / (GAMMA0 * WIDTH)
    assert_equal("f", np.asarray(jax.vmap(network)(X)), np.asarray(f))


def posed(equations: ForwardProgram, weights: Weights, x: np.ndarray) -> tuple[ProgramState, dict[str, Array]]:
    """A state with these weights before training, and the noise that goes with it."""
    actual = structure(equations.program, x, OUTPUTS)
    seen, counts = actual.structure, {p.name: round(p.width * WIDTH) for p in equations.populations}
    noise = {p.name: jnp.zeros((p.gaussians, counts[p.name])) for p in equations.populations}
    matrices = tuple(explicit_matrix.ExplicitMatrix(at_rest(weights.matrices[m.name], True)) for m in seen.matrices)
    state = equations.initial(noise, matrices, momentum=True)

    def action(name: str) -> Array:
        rows = actual.rows[name].reshape(-1, actual.rows[name].shape[-1])
        return rows @ weights.inputs[name].T / rows.shape[1] ** 0.5 + weights.numbers.get(name, 0.0)

    inputs = tuple(at_rest(action(each.name), True) for each in seen.inputs)
    numbers = tuple(at_rest(weights.numbers[each.name], True) for each in seen.vectors)
    readouts = tuple(at_rest(weights.readouts[each.name], True) for each in seen.readouts)
    return state._replace(inputs=inputs, vectors=numbers, readouts=readouts), noise


def gradient_descent(network: Any, x: np.ndarray, update: Update) -> Iterator[dict[str, Array]]:
    """What is observed of a network at every step. A step of theta is velocity - eta gamma0^2 N grad loss."""
    theta, fixed = eqx.partition(network, network.trained())
    velocity = jax.tree.map(jnp.zeros_like, theta)

    def predictions(theta: Any) -> Array:
        return jax.vmap(eqx.combine(theta, fixed))(x)

    def loss(theta: Any) -> Array:
        return jnp.sum(TRAIN * (Y - predictions(theta) + origin) ** 2) / 2

    @jax.jit
    def step(theta: Any, velocity: Any) -> tuple[Any, Any, dict[str, Array]]:
        seen = observed(eqx.combine(theta, fixed), x)
        jacobian = jax.tree.leaves(jax.jacobian(predictions)(theta))
        flat = jnp.concatenate([a.reshape(len(x) * OUTPUTS, -1) for a in jacobian], axis=1)
        kernel = GAMMA0**2 * WIDTH * (flat @ flat.T).reshape(len(x), OUTPUTS, len(x), OUTPUTS)
        seen["tangent_kernel"] = kernel
        slopes = jax.tree.map(lambda a: GAMMA0**2 * WIDTH * a, jax.grad(loss)(theta))
        velocity = jax.tree.map(
            lambda u, d, w: update.momentum * u - d - update.weight_decay * w, velocity, slopes, theta
        )
        return jax.tree.map(lambda w, u: w + update.learning_rate * u, theta, velocity), velocity, seen

    origin = predictions(theta)
    for _ in range(STEPS):
        theta, velocity, seen = step(theta, velocity)
        yield seen


def observed(network: Network, x: np.ndarray) -> dict[str, Array]:
    """f, Phi and G of all layers, and what else is observed, points on the axis where the dimensions have them."""
    shifts, points = network.shifts(), range(len(x))
    features = jax.vmap(lambda point: network.trace(point, shifts)[1])(x)
    slopes = jax.vmap(lambda point: jax.jacobian(lambda s: network.trace(point, s)[0])(shifts))(x)

    def feature(v: Array) -> Array:
        rows = v.reshape(len(points), -1)
        return rows @ rows.T / rows.shape[1]

    def gradient(g: Array) -> Array:
        rows = GAMMA0 * WIDTH * g.reshape(len(points) * OUTPUTS, -1)
        return (rows @ rows.T / g.shape[-1]).reshape(len(points), OUTPUTS, len(points), OUTPUTS)

    axis = {"attention": 1}
    others = {"prediction": jax.vmap(network)(x)} | jax.vmap(network.observables)(x)
    kernels = {
        "feature_kernel": jnp.stack([*map(feature, features)]),
        "gradient_kernel": jnp.stack([*map(gradient, slopes)]),
    }
    return kernels | {name: jnp.moveaxis(a, 0, axis.get(name, 0)) for name, a in others.items()}
