"""Deep linear networks of infinite width in exactly discrete time: closed matrix equations.

Source: the field theory of arXiv 2205.09653 and arXiv 2304.03408 (Bordelon & Pehlevan) with phi(h) = h. It shares no
code with fwdmft. Fields are linear in Gaussian noise, so nothing is sampled and nothing iterates. Gradient descent on
the squared error, summed over training points; centred output; sigma_w = 1.

Equations
---------
For hidden layers l = 1 .. L, with c = eta gamma0, points mu, nu and steps t, s (both pairs suppressed where a product
sums over them), a neuron's fields are

    h^l(t) = u^l(t) + sum_{s<t} [A^(l-1)(t, s) + c Phi^(l-1)(t, s) Delta(s)] g^l(s)        u^l ~ GP(0, Phi^(l-1))
    g^l(t) = r^l(t) + sum_{s<t} [B^l(t, s)     + c G^(l+1)(t, s)   Delta(s)] h^l(s)        r^l ~ GP(0, G^(l+1))

u^l is independent of r^l, and averages over both close the equations:

    Phi^l(t, s) = <h^l(t) h^l(s)>             G^l(t, s) = <g^l(t) g^l(s)>             f(t) = <g^L(t) h^L(t)> / gamma0
    A^l(t, s) = <d h^l(t) / d r^l(s)>         B^l(t, s) = <d g^(l+1)(t) / d u^(l+1)(s)>
    K(t) = sum_{l=0..L} G^(l+1)(t, t) Phi^l(t, t), elementwise in points

with Delta = y - f on training points and 0 on others. The ends are Phi^0 = x.x / D, G^(L+1) = 1, A^0 = B^L = 0: then
h^1 is the input layer's field, and g^L the readout w(t), the same at all points; w(0) is independent of h^L(0), so
f(0) = 0. A term A^l g^(l+1) of W^l(0) h^l / sqrt(N) is what h^l has learnt from earlier products with W^l(0)^T; B^l
likewise.

Index ranges: in step t the forward pass comes first and the backward pass second. So h^l(t) may depend on r^l(s) for
s < t, and g^l(t) on u^l(s) for s <= t. The term s = t would come from phi''; for linear networks it vanishes layer by
layer from B^L = 0 down, and A^l, B^l are both strictly causal. Hence one pass over t, upwards in l for h and
downwards for g, solves everything exactly.

Each field is kept as its matrix on the noise of its own layer: h^l = [dh/du, dh/dr] (u^l, r^l). Rows and columns are
(t, mu) pairs, step by step.
"""

from typing import NamedTuple

import numpy as np


class DeepLinear(NamedTuple):
    """Order parameters at steps 0 .. T - 1 and all P points, training points first.

    `feature_response` is A^l = <dh^l(t)/dr^l(s)> and `gradient_response` is B^l = <dg^(l+1)(t)/du^(l+1)(s)>, both for
    l = 1 .. L - 1: one per matrix between hidden layers.
    """

    prediction: np.ndarray  # (time, point)
    feature_kernel: np.ndarray  # (layer, time, point, time', point')
    gradient_kernel: np.ndarray  # (layer, time, point, time', point')
    tangent_kernel: np.ndarray  # (time, point, point')
    feature_response: np.ndarray  # (layer - 1, time, point, time', point')
    gradient_response: np.ndarray  # (layer - 1, time, point, time', point')


def solve(
    overlap: np.ndarray, y: np.ndarray, *, depth: int, gamma0: float, learning_rate: float, steps: int
) -> DeepLinear:
    """Train the infinitely wide network with `depth` hidden layers.

    `overlap` (P, P) is Phi^0 = x.x / D, and `y` (P_train,) the targets of its first P_train points.
    """
    points = overlap.shape[0]
    size = steps * points
    rate = learning_rate * gamma0
    # Index l is the layer of the equations: 0 .. L for Phi, A and B, 1 .. L + 1 for G (index 0 is not used).
    feature, gradient = np.zeros((depth + 1, size, size)), np.zeros((depth + 2, size, size))
    feature[0], gradient[depth + 1] = np.tile(overlap, (steps, steps)), 1.0
    feature_response, gradient_response = np.zeros((2, depth + 1, size, size))
    # (layer, row (t, mu), column u or r at (s, nu))
    h, g = np.zeros((2, depth + 1, size, 2 * size))
    delta, prediction = np.zeros(size), np.zeros((steps, points))

    def covariance(layer: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """<left right^T> (rows, rows') of two linear forms (rows, 2 size) in the noise of `layer`."""
        from_u = left[:, :size] @ feature[layer - 1] @ right[:, :size].T
        return from_u + left[:, size:] @ gradient[layer + 1] @ right[:, size:].T

    for t in range(steps):
        past, now, known = slice(0, t * points), slice(t * points, (t + 1) * points), slice(0, (t + 1) * points)
        for layer in range(1, depth + 1):
            training = feature_response[layer - 1, now, past] + rate * feature[layer - 1, now, past] * delta[past]
            h[layer, now] = training @ g[layer, past]
            h[layer, now, now] += np.eye(points)
            feature_response[layer, now] = h[layer, now, size:]
            feature[layer, now, known] = covariance(layer, h[layer, now], h[layer, known])
            feature[layer, known, now] = feature[layer, now, known].T
        for layer in range(depth, 0, -1):
            training = gradient_response[layer, now, past] + rate * gradient[layer + 1, now, past] * delta[past]
            g[layer, now] = training @ h[layer, past]
            g[layer, now, size:][:, now] += np.eye(points)
            gradient_response[layer - 1, now] = g[layer, now, :size]
            gradient[layer, now, known] = covariance(layer, g[layer, now], g[layer, known])
            gradient[layer, known, now] = gradient[layer, now, known].T
        prediction[t] = np.diag(covariance(depth, h[depth, now], g[depth, now])) / gamma0
        delta[now][: y.size] = y - prediction[t, : y.size]

    by_time = (-1, steps, points, steps, points)
    feature, gradient = feature.reshape(by_time), gradient.reshape(by_time)
    return DeepLinear(
        prediction=prediction,
        feature_kernel=feature[1:],
        gradient_kernel=gradient[1:-1],
        tangent_kernel=np.einsum("ltmtn,ltmtn->tmn", gradient[1:], feature),
        feature_response=feature_response[1:-1].reshape(by_time),
        gradient_response=gradient_response[1:-1].reshape(by_time),
    )
