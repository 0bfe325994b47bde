"""Response functions A and B: closed forms, a quadrature of the field theory, and an identity that networks obey."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks_of import dense_network

from fwdmft.engine import neurons
from fwdmft.engine.dynamics import training_signal
from fwdmft.errors import InputError
from fwdmft.experiment.loss import SquaredError
from fwdmft.experiment.parameterization import MeanField
from fwdmft.optimization import Plan
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.response_functions import response_functions
from fwdmft.testing.agreement import Estimate, assert_zero
from fwdmft_recurrent.equations import field_equations
from fwdmft_recurrent.schema import Recurrent
from tests.oracles import deep_linear
from tests.physics.comparison import known
from tests.physics.conftest import Runner

TWO_POINTS = np.array([[1.0, 0.4], [-0.3, 1.2]]), np.array([1.0, -0.7])


def settings(path: Path, x: np.ndarray, y: np.ndarray, **changes: Any) -> dict[str, Any]:
    """Of an experiment that trains on all points."""
    np.savez(path / "points.npz", x=x, y=y[:, None] if y.ndim == 1 else y, train=len(x))
    theory = {"neurons": 4096, "replicates": 8, "fluctuations": False, "bias": False, "responses": True}
    return {
        "architecture": {"kind": "deep", "depth": 3, "activation": "linear"} | changes.get("architecture", {}),
        "parameterization": {"kind": "mean_field", "gamma0": 2.0} | changes.get("parameterization", {}),
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.08, "steps": 8} | changes.get("optimizer", {}),
        "data": {"kind": "file", "path": str(path / "points.npz")},
        "theory": theory | changes.get("theory", {}),
    }


def responses(
    make: Callable[[], ForwardProgram], y: np.ndarray, plan: Plan, count: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """A and B of each of eight samplings of so many neurons, without the passes that an experiment takes besides."""
    with jax.enable_x64(True):
        equations = make()
        training = training_signal(plan, SquaredError(), y[:, None], np.full(len(y), True), save_every=1)
        actual = []
        for replicate in range(8):
            noise = neurons.sample(equations.populations, equations.supplies, count, 0, replicate)
            actual.append(response_functions(equations, jax.tree.map(jnp.asarray, noise), training, count))
        return np.stack([each.feature for each in actual]), np.stack([each.gradient for each in actual])


def assert_right(actual: np.ndarray, error: np.ndarray, exact: np.ndarray) -> None:
    """Of eight passes."""
    assert_zero("responses", Estimate.of(actual, error, 8) - known(exact), float(np.max(np.abs(exact))))
    assert np.max(error) < 0.02 * np.max(np.abs(exact)), "too uncertain to tell"


def test_linear_networks(run: Runner, tmp_path: Path) -> None:
    """Three layers, two points, gamma0 = 2. Every other step is kept, and nothing responds to what comes later."""
    x, y = TWO_POINTS
    actual = run(**settings(tmp_path, x, y, theory={"save_every": 2}))["diagnostics"].to_dataset()
    exact = deep_linear.solve(x @ x.T / 2, y, depth=3, gamma0=2.0, learning_rate=0.08, steps=8)
    times = actual["time"].values
    assert times.tolist() == [0, 2, 4, 6, 7]
    pairs = {"feature_response": exact.feature_response, "gradient_response": exact.gradient_response}
    later = times[:, None] <= times
    for name, every_step in pairs.items():
        kept = every_step.take(times, axis=1).take(times, axis=3)
        assert_right(actual[name].values, actual[f"{name}_standard_error"].values, kept)
        assert not np.any(actual[name].values.swapaxes(2, 3)[:, later])


def test_two_steps_of_two_tanh_layers() -> None:
    """One point: A(1, 0), B(1, 0) and B(1, 1), an average of phi'' z, by Gauss-Hermite quadrature of the theory."""
    plan = Plan(np.full(2, 0.4))
    actual = responses(lambda: dense_network(np.ones((1, 1)), 1.5, sigma_w=(1.0, 1.0, 1.0)), np.ones(1), plan)
    for samples, exact in zip(actual, two_steps(rate=1.5 * 0.4, residual=1.0), strict=True):
        assert_right(samples.mean(axis=0), samples.std(axis=0, ddof=1) / 8**0.5, exact)
    assert not np.any(actual[1][:, 0, 0, 0, 1])


def two_steps(rate: float, residual: float, nodes: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A and B (1, 2, 1, 2, 1) of two tanh layers and one point with |x|^2 = D."""
    node, weight = np.polynomial.hermite_e.hermegauss(nodes)
    weight = weight / weight.sum()
    learned = rate * residual

    def first(h: np.ndarray) -> np.ndarray:
        return 1 / np.cosh(h) ** 2

    def second(h: np.ndarray) -> np.ndarray:
        return -2 * np.tanh(h) * first(h)

    kernel_00 = weight @ np.tanh(node) ** 2
    u, r = np.meshgrid(node, np.sqrt(weight @ first(np.sqrt(kernel_00) * node) ** 2) * node, indexing="ij")
    both = np.outer(weight, weight)
    later = u + learned * first(u) * r
    a = np.sum(both * first(later) * learned * first(u))
    kernel_10, kernel_11 = np.sum(both * np.tanh(later) * np.tanh(u)), np.sum(both * np.tanh(later) ** 2)
    root = np.linalg.cholesky([[kernel_00, kernel_10], [kernel_10, kernel_11]])
    one, two, w = np.meshgrid(node, node, node, indexing="ij")
    each = both[..., None] * weight
    before, memory = root[0, 0] * one, a + learned * kernel_10
    after = root[1, 0] * one + root[1, 1] * two + memory * w * first(before)
    w_after = w + learned * np.tanh(before)
    now = np.sum(each * w_after * second(after))
    past = learned * first(before) * first(after) + w_after * second(after) * memory * w * second(before)
    backward = np.array([[0, 0], [np.sum(each * past), now]])
    return np.array([[0, 0], [a, 0]])[None, :, None, :, None], backward[None, :, None, :, None]


SIGMA_W, BIAS, GAMMA0, RATE, MOMENTUM, DECAY, STEPS = 1.2, 0.5, 1.5, 0.25, 0.5, 0.3, 4
BRANCH, USES, WIDTH = 1.0, 2, 400

Widths = tuple[float, ...]
EQUAL, UNEQUAL = (1.0, 1.0, 1.0), (1.0, 2.0, 1.5)
"""Widths of the layers, or of the steps of a sequence, in units of N."""

Theta = dict[str, Any]
Passes = Callable[[Theta, jax.Array, list[jax.Array]], tuple[jax.Array, list[jax.Array]]]
"""f, and the vectors that matrices act on, from weights, points, and what is added to the products of matrices."""


def layers(theta: Theta, x: jax.Array, added: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
    """Three tanh layers, of any widths."""
    h, seen = x @ theta["U"].T / x.shape[1] ** 0.5 + BIAS * theta["b"][0], []
    for matrix in range(USES):
        seen.append(jnp.tanh(h))
        h = seen[-1] @ theta["W"][matrix].T / h.shape[1] ** 0.5 + added[matrix] + BIAS * theta["b"][matrix + 1]
    return jnp.tanh(h) @ theta["w"] / (GAMMA0 * h.shape[1]), seen


def stream(theta: Theta, x: jax.Array, added: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
    """Three tanh layers with residual branches."""
    h, seen = x @ theta["U"].T / x.shape[1] ** 0.5 + BIAS * theta["b"][0], []
    for matrix in range(USES):
        seen.append(jnp.tanh(h))
        z = seen[-1] @ theta["W"][matrix].T / WIDTH**0.5 + added[matrix]
        h = h + BRANCH * (z + BIAS * theta["b"][matrix + 1])
    return jnp.tanh(h) @ theta["w"] / (GAMMA0 * WIDTH), seen


def recurrent(theta: Theta, x: jax.Array, added: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
    """Three steps of a recurrent network on a sequence."""
    arriving = x @ theta["U"].T / x.shape[2] ** 0.5 + BIAS * theta["b"][0]
    h, seen = arriving[:, 0], []
    for use in range(USES):
        seen.append(jnp.tanh(h))
        h = seen[-1] @ theta["W"][0].T / WIDTH**0.5 + added[use] + arriving[:, use + 1]
    return jnp.tanh(h) @ theta["w"] / (GAMMA0 * WIDTH), seen


def deep(branch: float | None, widths: Widths = EQUAL) -> ForwardProgram:
    return dense_network(TWO_POINTS[0], GAMMA0, sigma_w=(SIGMA_W,) * 4, bias=BIAS, branch=branch, widths=widths)


def of_sequences() -> ForwardProgram:
    parameterization = MeanField(gamma0=GAMMA0, sigma_w=SIGMA_W)
    return field_equations(Recurrent(activation="tanh", bias=BIAS), parameterization, SEQUENCES, 1)


SEQUENCES = np.random.default_rng(3).standard_normal((2, USES + 1, 2))
NETWORKS: dict[str, tuple[Callable[[], ForwardProgram], Passes, np.ndarray, int, Widths]] = {
    "layers": (lambda: deep(None, UNEQUAL), layers, TWO_POINTS[0], 24, UNEQUAL),
    "stream": (lambda: deep(BRANCH), stream, TWO_POINTS[0], 96, EQUAL),
    "recurrent": (of_sequences, recurrent, SEQUENCES, 40, EQUAL),
}
"""Equations, the same by hand, points, so many networks, and widths."""


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_obey_the_theory(name: str) -> None:
    """By Gaussian integration, v(t) W(0)^T Dz(s) / (n sqrt(m)) = sigma^2 [sum A(t, .) G(., s) + sum Phi(t, .) B(s, .)].

    A and B are the theory's, the rest is measured in networks, with biases, momentum, weight decay. Phi = <v v> and
    G = <Dz Dz> are those of a matrix between m and n neurons, between times, points and uses.
    """
    make, passes, x, count, widths = NETWORKS[name]
    plan = Plan(np.full(STEPS, RATE), momentum=MOMENTUM, weight_decay=DECAY)
    samples = responses(make, TWO_POINTS[1], plan, 8192)
    matrices = samples[0].shape[1]
    rows = STEPS * len(x) * USES // matrices
    a, b = (each.reshape(-1, matrices, rows, rows) for each in samples)
    with jax.enable_x64(True):
        members = [network(passes, matrices, np.random.default_rng(seed), x, widths) for seed in range(count)]
    left, v, g = (np.stack(each) for each in zip(*members, strict=True))

    def right(a: np.ndarray, v: np.ndarray, b: np.ndarray, g: np.ndarray) -> np.ndarray:
        return SIGMA_W**2 * (a @ g + v @ b.swapaxes(-2, -1))

    of_networks = left - right(a.mean(axis=0), v, b.mean(axis=0), g)
    of_theory = right(a, v.mean(axis=0), b, g.mean(axis=0))
    errors = [each.std(axis=0, ddof=1) / len(each) ** 0.5 for each in (of_networks, of_theory)]
    difference = Estimate.of(of_networks.mean(axis=0), errors[0], count) - Estimate.of(0 * errors[1], errors[1], 8)
    assert_zero("networks", difference, float(np.max(np.abs(left))))
    assert np.max(np.hypot(*errors)) < 0.03 * np.max(np.abs(np.mean(left, axis=0))), "too uncertain to be compared"


def network(
    passes: Passes, matrices: int, rng: np.random.Generator, x: np.ndarray, widths: Widths
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """v(t) W(0)^T Dz(s) / (n sqrt(m)) (matrix, time point use, the same), Phi and G of one trained network."""
    neurons = [round(WIDTH * width) for width in widths]
    theta = {"U": rng.normal(size=(neurons[0], x.shape[-1]))}
    theta["W"] = [rng.normal(size=neurons[matrix : matrix + 2][::-1]) for matrix in range(matrices)]
    theta = jax.tree.map(lambda a: SIGMA_W * a, theta | {"w": rng.normal(size=neurons[-1])})
    start, theta = theta["W"], theta | {"b": [rng.normal(size=count) for count in neurons]}
    v, g = ([np.asarray(a) for a in every] for every in trained(passes, theta, x))
    each = USES // matrices

    def rows(of_uses: list[np.ndarray], matrix: int) -> np.ndarray:
        """(time point use, neuron) of the vectors of a matrix."""
        some = np.stack(of_uses[each * matrix : each * (matrix + 1)], axis=2)
        return some.reshape(-1, some.shape[-1])

    measured = []
    for matrix, w in enumerate(start):
        of_v, of_g = rows(v, matrix), rows(g, matrix)
        (n, m), revealed = w.shape, of_v @ w.T @ of_g.T
        measured.append((revealed / (n * m**0.5), of_v @ of_v.T / m, of_g @ of_g.T / n))
    left, phi, gradient = (np.stack(every) for every in zip(*measured, strict=True))
    return left, phi, gradient


@partial(jax.jit, static_argnums=0)
def trained(passes: Passes, theta: Theta, x: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
    """v and Dz = gamma0 N d f / dz (time, point, neuron) of every use."""
    targets = jnp.asarray(TWO_POINTS[1])
    nothing = [jnp.zeros((len(x), len(biases))) for biases in theta["b"][1:]]

    def fields(theta: Theta) -> tuple[list[jax.Array], list[jax.Array]]:
        products, seen = jax.grad(
            lambda added: (jnp.sum(passes(theta, x, added)[0]), passes(theta, x, added)[1]), has_aux=True
        )(nothing)
        return seen, [GAMMA0 * WIDTH * each for each in products]

    def loss(theta: Theta, origin: jax.Array) -> jax.Array:
        return jnp.sum((targets - passes(theta, x, nothing)[0] + origin) ** 2) / 2

    def step(carry: tuple[Theta, Theta], _: None) -> tuple[tuple[Theta, Theta], Any]:
        now, velocity = carry
        slopes = jax.grad(loss)(now, origin)
        velocity = jax.tree.map(lambda u, d, w: MOMENTUM * u - GAMMA0**2 * WIDTH * d - DECAY * w, velocity, slopes, now)
        return (jax.tree.map(lambda w, u: w + RATE * u, now, velocity), velocity), fields(now)

    origin = passes(theta, x, nothing)[0]
    return jax.lax.scan(step, (theta, jax.tree.map(jnp.zeros_like, theta)), None, STEPS)[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"depth": 1}},
        {"architecture": {"normalization": "rms", "depth": 2}},
        {"parameterization": {"kind": "neural_tangent"}},
        {"optimizer": {"kind": "gradient_flow"}},
        {"outputs": 2},
    ],
    ids=str,
)
def test_where_there_are_none(run: Runner, tmp_path: Path, changes: dict[str, Any]) -> None:
    """One layer, normalised and lazy networks, gradient flow and several outputs are refused."""
    outputs = changes.get("outputs", 1)
    asked = settings(tmp_path, TWO_POINTS[0], np.ones((2, outputs)), **changes)
    if "kind" in changes.get("parameterization", {}):
        asked["parameterization"] = changes["parameterization"]
    with pytest.raises(InputError, match=r"theory\.responses: got True; expected false, or"):
        run(**asked)
