"""Response functions A and B: closed forms, a quadrature of the field theory, and an identity that networks obey."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.errors import InputError
from fwdmft.meanfield import neurons
from fwdmft.meanfield.chain import make_chain
from fwdmft.meanfield.dynamics import make_drive
from fwdmft.meanfield.responses import response_functions
from fwdmft.meanfield.wiring import Wiring
from fwdmft.optimization import Plan
from fwdmft.spec.loss import SquaredError
from fwdmft.testing.agreement import Estimate, assert_zero
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


def tanh_responses(
    x: np.ndarray, y: np.ndarray, gamma0: float, plan: Plan, wiring: Wiring
) -> tuple[np.ndarray, np.ndarray]:
    """A and B of each of eight samplings of tanh chains, without the passes that a whole experiment takes besides."""
    with jax.enable_x64(True):
        equations = make_chain(x, [jnp.tanh] * wiring.depth, gamma0, wiring)
        drive = make_drive(plan, SquaredError(), y[:, None], np.full(len(y), True), save_every=1)
        found = []
        for replicate in range(8):
            noise = neurons.sample(equations.populations, equations.supplies, 2048, 0, replicate)
            found.append(response_functions(equations, jax.tree.map(jnp.asarray, noise), drive, 2048))
        return np.stack([each.feature for each in found]), np.stack([each.gradient for each in found])


def assert_right(found: np.ndarray, error: np.ndarray, exact: np.ndarray) -> None:
    """Of eight passes."""
    assert_zero("responses", Estimate.of(found, error, 8) - known(exact), float(np.max(np.abs(exact))))
    assert np.max(error) < 0.02 * np.max(np.abs(exact)), "too uncertain to tell"


def test_linear_networks(run: Runner, tmp_path: Path) -> None:
    """Three layers, two points, gamma0 = 2. Every other step is kept, and nothing responds to what comes later."""
    x, y = TWO_POINTS
    found = run(**settings(tmp_path, x, y, theory={"save_every": 2}))["diagnostics"].to_dataset()
    exact = deep_linear.solve(x @ x.T / 2, y, depth=3, gamma0=2.0, learning_rate=0.08, steps=8)
    times = found["time"].values
    assert times.tolist() == [0, 2, 4, 6, 7]
    pairs = {"feature_response": exact.feature_response, "gradient_response": exact.gradient_response}
    later = times[:, None] <= times
    for name, every_step in pairs.items():
        kept = every_step.take(times, axis=1).take(times, axis=3)
        assert_right(found[name].values, found[f"{name}_standard_error"].values, kept)
        assert not np.any(found[name].values.swapaxes(2, 3)[:, later])


def test_two_steps_of_two_tanh_layers() -> None:
    """One point: A(1, 0), B(1, 0) and B(1, 1), an average of phi'' z, by Gauss-Hermite quadrature of the theory."""
    wiring, plan = Wiring(2, 1, (1.0, 1.0, 1.0)), Plan(np.full(2, 0.4))
    found = tanh_responses(np.ones((1, 1)), np.ones(1), 1.5, plan, wiring)
    for samples, exact in zip(found, two_steps(rate=1.5 * 0.4, residual=1.0), strict=True):
        assert_right(samples.mean(axis=0), samples.std(axis=0, ddof=1) / 8**0.5, exact)
    assert not np.any(found[1][:, 0, 0, 0, 1])


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


SIGMA_W, BIAS, GAMMA0, RATE, MOMENTUM, DECAY, STEPS = 1.2, 0.5, 1.5, 0.15, 0.5, 0.3, 6


def test_networks_obey_the_theory() -> None:
    """By Gaussian integration, <v(t) W(0)^T g(s)> / sqrt(N) = sigma^2 [sum A(t, .) G(., s) + sum Phi(t, .) B(s, .)].

    A and B are the theory's, the rest is measured in networks: three tanh layers, biases, momentum, weight decay.
    """
    x, y = TWO_POINTS
    plan = Plan(np.full(STEPS, RATE), momentum=MOMENTUM, weight_decay=DECAY)
    samples = tanh_responses(x, y, GAMMA0, plan, Wiring(3, 1, (SIGMA_W,) * 4, sigma_b=BIAS))
    a, b = (each.mean(axis=0).reshape(2, 2 * STEPS, 2 * STEPS) for each in samples)
    members = [network(np.random.default_rng(seed), x, y) for seed in range(24)]
    left = np.stack([revealed for revealed, _, _ in members])
    right = SIGMA_W**2 * np.stack([a @ g[1:] + v[:-1] @ b.swapaxes(1, 2) for _, v, g in members])
    difference = left - right
    error = np.std(difference, axis=0, ddof=1) / len(members) ** 0.5
    assert_zero("networks", Estimate.of(difference.mean(axis=0), error, len(members)), float(np.max(np.abs(left))))
    assert np.max(error) < 0.03 * np.max(np.abs(np.mean(left, axis=0))), "too uncertain to be compared"


def network(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, width: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """<v^l(t) W^l(0)^T g^(l+1)(s)> / sqrt(N) (matrix, time point, time' point'), Phi and G of one trained network."""
    start = [SIGMA_W * rng.normal(size=shape) for shape in ((width, 2), (width, width), (width, width), (1, width))]
    theta = start + [rng.normal(size=(width, 1)) for _ in range(3)]
    velocity = [np.zeros_like(each) for each in theta]
    seen_v, seen_g, origin = [], [], None
    for _ in range(STEPS):
        weights, biases = theta[:4], theta[4:]
        inputs = [x.T / x.shape[1] ** 0.5]
        for w, bias in zip(weights[:3], biases, strict=True):
            inputs.append(np.tanh(w @ inputs[-1] + BIAS * bias) / width**0.5)
        v = [width**0.5 * each for each in inputs[1:]]
        g = [weights[3].T * (1 - v[2] ** 2)]
        for w, features in zip(weights[2:0:-1], v[1::-1], strict=True):
            g.insert(0, (1 - features**2) * (w.T @ g[0]) / width**0.5)
        f = weights[3] @ v[2] / (GAMMA0 * width)
        origin = f if origin is None else origin
        signals = [(y - f + origin) * each for each in g]
        gradients = [GAMMA0 * s @ each.T for s, each in zip(signals, inputs, strict=False)]
        gradients += [GAMMA0 * (y - f + origin) @ v[2].T]
        gradients += [GAMMA0 * BIAS * s.sum(axis=1, keepdims=True) for s in signals]
        velocity = [MOMENTUM * u + d - DECAY * w for u, d, w in zip(velocity, gradients, theta, strict=True)]
        theta = [w + RATE * u for w, u in zip(theta, velocity, strict=True)]
        seen_v.append(v)
        seen_g.append(g)
    v, g = (np.stack([np.hstack(layer) for layer in zip(*seen, strict=True)]) for seen in (seen_v, seen_g))
    rows, columns = v.swapaxes(1, 2), g.swapaxes(1, 2)
    revealed = rows[:-1] @ np.stack(start[1:3]).swapaxes(1, 2) @ g[1:] / width**1.5
    return revealed, rows @ v / width, columns @ g / width


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"depth": 1}},
        {"architecture": {"branch_scale": 0.5}},
        {"parameterization": {"kind": "neural_tangent"}},
        {"optimizer": {"kind": "gradient_flow"}},
        {"outputs": 2},
    ],
    ids=str,
)
def test_where_there_are_none(run: Runner, tmp_path: Path, changes: dict[str, Any]) -> None:
    """One layer, residual and lazy networks, gradient flow and several outputs are refused."""
    outputs = changes.get("outputs", 1)
    asked = settings(tmp_path, TWO_POINTS[0], np.ones((2, outputs)), **changes)
    if "kind" in changes.get("parameterization", {}):
        asked["parameterization"] = changes["parameterization"]
    with pytest.raises(InputError, match=r"theory\.responses: got True; expected false, or"):
        run(**asked)
