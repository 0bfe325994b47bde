r"""Two-layer linear networks solved exactly: an independent answer where there is one.

On whitened points (x_mu.x_nu = D delta_mu,nu) the centred predictions u, the kernel A of the hidden layer and the
norm q of the readout form a closed set at any width. With hidden h_mu, readout w, Delta = y - u,

    A_mu,nu = h_mu.h_nu / N    q = w.w / N    m_mu = gamma0 w.h_mu / N = gamma0^2 u_mu + m_mu(0)    K = A + q

    u' = u + eta (A + q) Delta + eta^2 (m.Delta) Delta
    A' = A + eta (m Delta^T + Delta m^T) + eta^2 gamma0^2 q Delta Delta^T
    q' = q + 2 eta m.Delta + eta^2 gamma0^2 Delta.A Delta

Randomness enters through the start alone, averages over neurons with means 0, 1 and 1 and N Cov
<m m> = gamma0^2 delta, <A_mu,nu A_rho,sigma> = delta delta + delta delta, <q q> = 2. So N Var and the bias of every
later quantity follow from first and second derivatives in the start, and all are functions of gamma0^2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, jax.Array]


def trajectory(start: jax.Array, y: jax.Array, gamma_squared: jax.Array, eta: float, steps: int) -> Arrays:
    """prediction u (time, point) and tangent_kernel K (time, point, point') from a start (m, upper half of A, q)."""
    size = len(y)
    upper = np.triu_indices(size)
    half = jnp.zeros((size, size)).at[upper].set(start[size:-1])
    learned = start[:size]

    def step(state: tuple, _: None) -> tuple[tuple, tuple]:
        u, a, q = state
        delta, m = y - u, gamma_squared * u + learned
        turned = jnp.outer(m, delta)
        grown = (
            u + eta * (a @ delta + q * delta) + eta**2 * (m @ delta) * delta,
            a + eta * (turned + turned.T) + eta**2 * gamma_squared * q * jnp.outer(delta, delta),
            q + 2 * eta * m @ delta + eta**2 * gamma_squared * delta @ a @ delta,
        )
        return grown, (u, a + q * jnp.eye(size))

    initial = jnp.zeros(size), half + half.T - jnp.diag(jnp.diag(half)), start[-1]
    u, k = jax.lax.scan(step, initial, None, length=steps)[1]
    return {"prediction": u, "tangent_kernel": k}


def moments(gamma_squared: jax.Array, y: jax.Array, eta: float, steps: int) -> dict[str, Arrays]:
    """mean, variance (N Var) and bias of the quantities of `trajectory`, to leading order in 1/N."""
    start, covariance = _start(gamma_squared, len(y))
    run = partial(trajectory, y=y, gamma_squared=gamma_squared, eta=eta, steps=steps)
    slope, curvature = jax.jacfwd(run)(start), jax.jacfwd(jax.jacfwd(run))(start)
    return {
        "mean": run(start),
        "variance": {name: jnp.einsum("...i,i,...i->...", j, covariance, j) for name, j in slope.items()},
        "bias": {name: 0.5 * jnp.einsum("...ii,i->...", h, covariance) for name, h in curvature.items()},
    }


def exact(y: list[float], gamma0: float, eta: float, steps: int) -> dict[str, dict[str, np.ndarray]]:
    """`moments` at gamma0, in double precision."""
    return _in_double(lambda g: moments(g, jnp.asarray(y), eta, steps), gamma0**2)


def expansion(y: list[float], eta: float, steps: int) -> tuple[dict, dict]:
    """`moments` at gamma0 = 0, and their derivatives in gamma0^2 there."""

    def both(gamma_squared: jax.Array) -> tuple[dict, dict]:
        of = partial(moments, y=jnp.asarray(y), eta=eta, steps=steps)
        return jax.jvp(of, (gamma_squared,), (jnp.ones(()),))

    return _in_double(both, 0.0)


def _start(gamma_squared: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Means and variances of the start, whose entries are uncorrelated."""
    same = jnp.asarray(np.equal(*np.triu_indices(size)), float)
    mean = jnp.concatenate([jnp.zeros(size), same, jnp.ones(1)])
    return mean, jnp.concatenate([jnp.full(size, gamma_squared), 1 + same, jnp.full(1, 2.0)])


def _in_double(function: Callable, gamma_squared: float) -> tuple | dict:
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(function)(jnp.asarray(gamma_squared, float)))
