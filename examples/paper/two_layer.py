"""Two-layer networks on one point of unit kernel, neuron by neuron: kernels of single networks, and what a neuron does.

phi(h) = tanh(a h) / a, target 1, gradient descent in the conventions of fwdmft; each neuron has its h and w.
"""

from __future__ import annotations

import numpy as np

SCALE = 0.4


def member_kernels(gamma0: float, eta: float, steps: int, width: int, members: int, seed: int = 0) -> np.ndarray:
    """K (time, member) of networks of one width."""
    h, w = np.random.default_rng(seed).standard_normal((2, members, width))
    computed, origin = [], _output(h, w, gamma0)
    for _ in range(steps):
        phi, slope = activation(h)[:2]
        computed.append(np.mean(phi**2 + (w * slope) ** 2, -1))
        delta = 1 - (_output(h, w, gamma0) - origin)[:, None]
        h, w = h + eta * gamma0 * delta * w * slope, w + eta * gamma0 * delta * phi
    return np.array(computed)


def _output(h: np.ndarray, w: np.ndarray, gamma0: float) -> np.ndarray:
    return np.mean(w * activation(h)[0], -1) / gamma0


def activation(h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """phi and its first two derivatives."""
    t = np.tanh(SCALE * h)
    slope = 1 - t**2
    return t / SCALE, slope, -2 * SCALE * t * slope


def single_neuron(
    gamma0: float, eta: float, delta: np.ndarray, neurons: int = 4000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Variance kappa(t) of a neuron's share k(t) = phi^2 + g^2 of K, and response D(t, s) = d<k(t)> / d Delta(s).

    delta: Delta (time,), held fixed: what a neuron does on its own in the field that all others make.
    """
    h, w = np.random.default_rng(seed).standard_normal((2, neurons))
    steps = len(delta)
    dh, dw = np.zeros((2, steps, neurons))  # derivatives in Delta(s), one row for every s
    variance, response = [], []
    for t, d in enumerate(delta):
        phi, slope, curvature = activation(h)
        variance.append(np.var(phi**2 + (w * slope) ** 2))
        change = 2 * (phi * slope + w**2 * slope * curvature) * dh + 2 * w * slope**2 * dw
        response.append(change.mean(-1))
        new_h = dh + eta * gamma0 * d * (slope * dw + w * curvature * dh)
        new_w = dw + eta * gamma0 * d * slope * dh
        new_h[t] += eta * gamma0 * w * slope
        new_w[t] += eta * gamma0 * phi
        dh, dw = new_h, new_w
        h, w = h + eta * gamma0 * d * w * slope, w + eta * gamma0 * d * phi
    return np.array(variance), np.array(response)
