"""The common reference: an ensemble of finite two-layer networks trained with `jax.grad`.

Independent of fwdmft and of the baseline: the model is written down as a function of its weights, the
gradient comes from automatic differentiation, and statistics over random initialisations carry standard
errors. Training runs in float32 (its rounding is far below the sampling error); statistics are accumulated in
float64.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Weights = tuple[Array, Array]


def two_points(overlap: float) -> np.ndarray:
    """Two inputs (2, D = 2), |x|^2 = D and x_1 . x_2 = D `overlap`; the first is the training point."""
    return np.sqrt(2.0) * np.array([[1.0, 0.0], [overlap, np.sqrt(1.0 - overlap**2)]])


def output(weights: Weights, x: Array, scale: float, gamma0: float) -> Array:
    """f(x) = w . phi(W x / sqrt D) / (gamma0 N), phi(h) = tanh(a h) / a, for x (D,)."""
    hidden, readout = weights
    h = hidden @ x / jnp.sqrt(x.size)
    return readout @ jnp.tanh(scale * h) / (scale * gamma0 * readout.size)


def train(
    key: Array, x: Array, y: float, scale: float, gamma0: float, eta: float, width: int, steps: int
) -> tuple[Array, Array]:
    """One network: centred predictions (T, 2) and the tangent kernel of the training point (T,)."""
    first, second = jax.random.split(key)
    start = jax.random.normal(first, (width, x.shape[1])), jax.random.normal(second, (width,))
    model = partial(output, scale=scale, gamma0=gamma0)
    initial = jax.vmap(model, (None, 0))(start, x)

    def step(weights: Weights, _: None) -> tuple[Weights, tuple[Array, Array]]:
        f, gradient = jax.value_and_grad(model)(weights, x[0])
        rate = eta * gamma0**2 * width * (y - f + initial[0])
        kernel = gamma0**2 * width * sum((jnp.sum(g**2) for g in gradient), jnp.zeros(()))
        centred = jnp.stack([f, model(weights, x[1])]) - initial
        return jax.tree.map(lambda w, g: w + rate * g, weights, gradient), (centred, kernel)

    return jax.lax.scan(step, start, None, length=steps)[1]


def ensemble(
    setting: dict[str, float], steps: int, width: int, members: int, seed: int, chunk: int = 250
) -> dict[str, Any]:
    """Statistics of f, f_test and kernel over `members` networks, `chunk` trained at once.

    `setting` has phi_scale, gamma0, eta, phi0 and y. Keys as in `moments`, arrays (T,), and seconds.
    """
    began = time.perf_counter()
    x = jnp.asarray(two_points(setting["phi0"]), jnp.float32)
    y, scale, gamma0, eta = (setting[name] for name in ("y", "phi_scale", "gamma0", "eta"))
    many = jax.jit(jax.vmap(lambda key: train(key, x, y, scale, gamma0, eta, width, steps)))
    keys = jax.random.split(jax.random.key(seed), members)
    parts = [many(keys[i : i + chunk]) for i in range(0, members, chunk)]
    f, kernel = (np.concatenate([np.asarray(part[i], np.float64) for part in parts]) for i in (0, 1))
    result: dict[str, Any] = {}
    for name, values in {"f": f[:, :, 0], "f_test": f[:, :, 1], "kernel": kernel}.items():
        result |= moments(name, values, width)
    return {**result, "seconds": time.perf_counter() - began}


def moments(name: str, values: np.ndarray, width: int) -> dict[str, np.ndarray]:
    """Mean `name` and N Var `variance_name` over axis 0, and their standard errors (`..._error`)."""
    members = values.shape[0]
    squares = (values - values.mean(axis=0)) ** 2
    variance = squares.sum(axis=0) / (members - 1)
    return {
        name: values.mean(axis=0),
        f"{name}_error": np.sqrt(variance / members),
        f"variance_{name}": width * variance,
        f"variance_{name}_error": width * squares.std(axis=0) / np.sqrt(members),
    }
