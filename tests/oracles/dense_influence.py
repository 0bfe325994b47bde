"""Sigma and b of two-layer networks by brute force: all derivatives in the weights p of a few neurons.

    f_c(x) = sum_i p_i F_ic(x)      F_i = w_i phi(W_i x / sqrt(D) + sigma_b b_i) / gamma0, less that at t = 0 if centred
    v_i <- momentum v_i + gamma0^2 / n_i sum Delta d F_i / d theta_i - weight_decay theta_i
    theta_i <- theta_i + eta v_i

A population of n N neurons adds neurons with that n_i and p that sum to one. Trained by a plain loop, differentiated as
it stands: psi_i = Dq[delta_i - p], b = 1/2 sum_i p_i / n_i D^2 q[delta_i - p, delta_i - p].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Neurons(NamedTuple):
    """W: (neuron, feature). w: (neuron, output). b: (neuron,), zero without biases."""

    W: Array
    w: Array
    b: Array


@dataclass(frozen=True)
class Network:
    """x: observed points. batches: (step, ...) points x and targets y. delta: of (f, y). widths: n_i (neuron,)."""

    x: np.ndarray
    batches: tuple[Array, Array]
    delta: Callable[[Array, Array], Array]
    phi: Callable[[Array], Array]
    widths: np.ndarray
    gamma0: float
    rate: float
    sigma_b: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    center: bool = True
    substeps: int = 1


def observables(network: Network, neurons: Neurons, p: Array) -> dict[str, Array]:
    """(time, ...) before each step."""
    x, theta, gamma0 = jnp.asarray(network.x), neurons, network.gamma0
    velocity = jax.tree.map(jnp.zeros_like, theta)

    def fields(one: Neurons, x: Array) -> Array:
        return x @ one.W / x.shape[1] ** 0.5 + network.sigma_b * one.b

    def contribution(one: Neurons, x: Array) -> Array:
        return network.phi(fields(one, x))[:, None] * one.w / gamma0

    def each(function: Callable, theta: Neurons, x: Array) -> Array:
        return jax.vmap(lambda one: function(one, x))(theta)

    def predictions(theta: Neurons, x: Array) -> Array:
        start = each(contribution, neurons, x) if network.center else 0.0
        return jnp.tensordot(p, each(contribution, theta, x) - start, axes=1)

    def look(theta: Neurons) -> dict[str, Array]:
        slopes = each(jax.jacfwd(contribution), theta, x)
        flat = jnp.concatenate([a.reshape(*a.shape[:3], -1) for a in slopes], axis=-1)
        features = each(lambda one, x: network.phi(fields(one, x)), theta, x)
        steepness = each(lambda one, x: jax.vmap(jax.grad(network.phi))(fields(one, x)), theta, x)
        g = steepness[:, :, None] * theta.w[:, None] / network.widths[:, None, None]
        return {
            "prediction": predictions(theta, x),
            "feature_kernel": jnp.einsum("i,im,in->mn", p, features, features)[None],
            "gradient_kernel": jnp.einsum("i,imc,ind->mcnd", p, g, g)[None],
            "tangent_kernel": gamma0**2 * jnp.einsum("i,imcq,indq->mcnd", p / network.widths, flat, flat),
        }

    def train(theta: Neurons, velocity: Neurons, x: Array, y: Array) -> tuple[Neurons, Neurons]:
        delta = network.delta(predictions(theta, x), y)
        slopes = each(jax.jacfwd(contribution), theta, x)

        def push(velocity: Array, slope: Array, theta: Array) -> Array:
            gradient = jnp.einsum("imc...,mc->i...", slope, delta)
            n = network.widths.reshape(-1, *(1,) * (theta.ndim - 1))
            return network.momentum * velocity + gamma0**2 / n * gradient - network.weight_decay * theta

        velocity = jax.tree.map(push, velocity, slopes, theta)
        return jax.tree.map(lambda a, v: a + network.rate / network.substeps * v, theta, velocity), velocity

    def step(
        now: tuple[Neurons, Neurons], batch: tuple[Array, Array]
    ) -> tuple[tuple[Neurons, Neurons], dict[str, Array]]:
        seen = look(now[0])
        for _ in range(network.substeps):
            now = train(*now, *batch)
        return now, seen

    return jax.lax.scan(step, (theta, velocity), network.batches)[1]


class Dense(NamedTuple):
    """mean: q. psi: (time, ..., neuron) influences times sqrt(p_i / n_i), so that Sigma = psi psi^T. bias: b."""

    mean: dict[str, Array]
    psi: dict[str, Array]
    bias: dict[str, Array]


def dense(q: Callable[[Array], dict[str, Array]], populations: np.ndarray, widths: np.ndarray) -> Dense:
    """At p_i = 1 / number of neurons in i's population. populations: of each neuron, an integer."""
    same = populations[:, None] == populations
    p = 1.0 / same.sum(axis=1)
    towards = np.eye(len(p)) - same * p  # row i: delta_i - p within i's population
    towards = towards * np.sqrt(p / widths)[:, None]

    def slopes(p: Array) -> dict[str, Array]:
        return jax.jacfwd(q)(p)

    mean, first, second = jax.jit(lambda p: (q(p), slopes(p), jax.jacfwd(slopes)(p)))(jnp.asarray(p))
    return Dense(
        mean,
        {name: a @ towards.T for name, a in first.items()},
        {name: jnp.einsum("...ij,ki,kj->...", a, towards, towards) / 2 for name, a in second.items()},
    )
