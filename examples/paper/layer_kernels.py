r"""Kernels of every layer of many random networks, and the closed form of their covariance.

For one input with |x|^2 = D, to leading order in 1/N,

    linear:        N Cov(Phi^l, Phi^m) = 2 min(l, m)    N Cov(G^l, G^m) = 2 min(L+1-l, L+1-m)    N Cov(Phi^l, G^m) = 0
    sqrt(2) ReLU:  5 min(l, m)                          5 min(L+1-l, L+1-m)                      max(l - m + 1, 0)

log Phi^l is a sum of independent terms, one a layer, each of variance (<phi^4> / <phi^2>^2 - 1) / N, and log G^m one
over the layers m .. L; common layers make the covariance. Phi^l and G^m, m <= l, share the states of ReLU neurons in
the layers m .. l: each term has covariance <2 s 2 u^2 s> - 1 = 1 (s = 1 where u > 0). In linear networks they share
matrices instead, whose (m, l) blocks have covariance of order 1/N^2: N Cov(Phi^l, G^m) = (l-m)(l-m+1) / N.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

_GAIN = {"linear": 1.0, "relu": 2.0**0.5}


def closed_form(activation: str, depth: int) -> dict[tuple[str, str], np.ndarray]:
    """N Cov (layer, layer') of pairs of kernels."""
    up = np.minimum.outer(np.arange(1, depth + 1), np.arange(1, depth + 1)).astype(float)
    scale = {"linear": 2.0, "relu": 5.0}[activation]
    shared = np.maximum(np.subtract.outer(np.arange(depth), np.arange(depth)) + 1.0, 0.0)
    cross = shared if activation == "relu" else np.zeros_like(shared)
    down = up[::-1, ::-1]
    return {
        ("feature", "feature"): scale * up,
        ("gradient", "gradient"): scale * down,
        ("feature", "gradient"): cross,
    }


def measure(activations: tuple[str, ...], depth: int, width: int, members: int, seed: int = 0) -> xr.Dataset:
    """covariance (N Cov over networks) and its standard error, of (activation, kernel, layer, kernel', layer')."""
    computed = [_covariance(_members(one, depth, width, members, seed), width) for one in activations]
    dims = ("activation", "kernel", "layer", "kernel_prime", "layer_prime")
    kernels, layers = ["feature", "gradient"], np.arange(1, depth + 1)
    names = dict(zip(dims, (list(activations), kernels, layers, kernels, layers), strict=True))
    variables = {
        name: (dims, np.stack([each[place] for each in computed])) for place, name in enumerate(("covariance", "error"))
    }
    return xr.Dataset(variables, coords=names).assign(width=width, members=members)


def _members(activation: str, depth: int, width: int, members: int, seed: int) -> np.ndarray:
    """Phi^l and G^l (member, kernel, layer) of networks with one input of unit kernel."""
    gain = _GAIN[activation]

    def activate(h: jax.Array) -> jax.Array:
        return gain * (jax.nn.relu(h) if activation == "relu" else h)

    def top(shifts: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """w.phi(h^L) and all phi(h^l), each h^l shifted; derivatives in the shifts are g^l."""
        keys = jax.random.split(key, depth + 1)
        h, seen = jax.random.normal(keys[0], (width,)) + shifts[0], []
        for layer in range(1, depth + 1):
            seen.append(activate(h))
            if layer < depth:
                weights = jax.random.normal(keys[layer], (width, width))
                h = weights @ seen[-1] / width**0.5 + shifts[layer]
        return jax.random.normal(keys[depth], (width,)) @ seen[-1], jnp.stack(seen)

    def kernels(key: jax.Array) -> jax.Array:
        g, features = jax.grad(top, has_aux=True)(jnp.zeros((depth, width)), key)
        return jnp.stack([jnp.mean(features**2, 1), jnp.mean(g**2, 1)])

    keys = jax.random.split(jax.random.key(seed), members)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(kernels, keys, batch_size=16))(keys), float)


def _covariance(kernels: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """N Cov (kernel, layer, kernel', layer') and its standard error."""
    apart = kernels - kernels.mean(0)
    count = len(apart)
    covariance = np.einsum("nal,nbm->albm", apart, apart) / (count - 1)
    squares = np.einsum("nal,nbm->albm", apart**2, apart**2) / count
    return width * covariance, width * np.sqrt(np.maximum(squares - covariance**2, 0) / count)
