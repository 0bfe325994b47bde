"""The published propagator of deep linear networks, dense over all pairs of times: a baseline for the engine.

Written from arXiv 2304.03408: N Cov of all order parameters from the Hessian of the DMFT action at its saddle point. It
shares no code with fwdmft. Setting: L hidden layers, phi(h) = h, one training point with |x|^2 = D, squared error,
centred output, full-batch steps, c = eta gamma0. Time is exactly discrete, and indices (t, s) are pairs of steps.

1. Action. Integrating out the weights of N neurons per layer leaves exp(N S[q, q^]), where the order parameters q are

    Phi^l(t, s) = h^l(t).h^l(s) / N    G^l(t, s) = g^l(t).g^l(s) / N    M(t) = g^L(t).h^L(t) / N    t >= s, l = 1 .. L
    A^l(t, s) = h^l(t).n_r^l(s) / N    t > s,       B^l(t, s) = g^(l+1)(t).n_u^(l+1)(s) / N    t >= s, l = 1 .. L - 1

   and q^ their conjugates, which are sources of the same products: S = - q^.q + sum_l ln Z^l(q, q^). n_u and n_r are
   (-i times) the fields conjugate to the noises u ~ GP(0, Phi^(l-1)) and r ~ GP(0, G^(l+1)) of a neuron, so that
   <x n_u(s)> = <dx / du(s)>. With f = (M - M(0)) / gamma0 and Delta = y - f a neuron of layer l obeys

    h = u + C g    C(t, s) = A^(l-1)(t, s) + c Phi^(l-1)(t, s) Delta(s), s < t
    g = r + D h    D(t, s) = B^l(t, s) + c G^(l+1)(t, s) Delta(s) (the second term for s < t)

   with Phi^0 = G^(L+1) = 1 and A^0 = B^L = 0. A pair of times belongs to A^l (forward products of a step see the
   backward products of earlier ones) or, the other way round, to B^l, whose t = s vanishes at infinite width but not in
   its fluctuations. The remaining half of each response is the other one's conjugate.

2. One layer. The action of a neuron's fields v = (h, g, n_u, n_r) is quadratic, so Z^l is a Gaussian integral and
   ln Z^l = -1/2 ln det of its matrix. Its second derivative in two coefficients, of v_i v_j and of v_k v_m, is

    E_ik E_jm + E_im E_jk    E = [[R Q R^T, R], [R^T, 0]],  R = (1 - [[0, C], [D, 0]])^-1,  Q = diag(Phi^(l-1), G^(l+1))

3. Propagator. At the saddle point q^ = 0 and q = F(q), the means of the products. As Z = 1 at q^ = 0 for every q, the
   Hessian of S in (q, q^) is [[0, -(1 - J)^T], [-(1 - J), kappa]], with J = dF / dq and kappa the covariance of the
   products of one neuron, both read off step 2. Minus its inverse contains

    Sigma = N Cov(q) = (1 - J)^-1 kappa (1 - J)^-T    N Var of f and K = sum_{l=0..L} G^(l+1) Phi^l (t = s) follow

q has (2 L - 1) T^2 entries to leading order, so memory grows as T^4 and time as T^6. Symmetry of the kernels, causality
of the responses and q^ = 0 are used: (q, q^) over all ordered pairs of times would be three times longer.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag, inv, lu_factor, lu_solve

Key = tuple[str, int]  # a name and the layer l of the equations


class Problem(NamedTuple):
    """Scalars of the setting: hidden layers L, number of times T, gamma0, rate c = eta gamma0 and target y."""

    depth: int
    steps: int
    gamma0: float
    rate: float
    target: float


class Saddle(NamedTuple):
    """Order parameters at infinite width; index l is that of the equations, entries beyond their ends are not used."""

    feature: np.ndarray  # Phi (L + 2, T, T)
    gradient: np.ndarray  # G (L + 2, T, T)
    feature_response: np.ndarray  # A (L + 2, T, T)
    gradient_response: np.ndarray  # B (L + 2, T, T)
    alignment: np.ndarray  # M (T,)


def errors(q: Saddle, problem: Problem) -> np.ndarray:
    """Delta (T,), with the output centred."""
    return problem.target - (q.alignment - q.alignment[0]) / problem.gamma0


def field_covariance(q: Saddle, layer: int, steps: int, problem: Problem) -> np.ndarray:
    """E (4 steps, 4 steps), the second moments of (h, g, n_u, n_r) of one neuron over the first `steps` times."""
    delta = errors(q, problem)[:steps]
    phi, gradient = q.feature[layer - 1, :steps, :steps], q.gradient[layer + 1, :steps, :steps]
    forward = q.feature_response[layer - 1, :steps, :steps] + problem.rate * np.tril(phi * delta, -1)
    backward = q.gradient_response[layer, :steps, :steps] + problem.rate * np.tril(gradient * delta, -1)
    one = np.eye(steps)
    response = inv(np.block([[one, -forward], [-backward, one]]))
    fields = response @ block_diag(phi, gradient) @ response.T
    return np.block([[fields, response], [response.T, np.zeros_like(fields)]])


def saddle_point(problem: Problem) -> Saddle:
    """q = F(q). It is causal: at each step one sweep up (forward) and one down (backward) settles the new time."""
    depth, steps = problem.depth, problem.steps
    q = Saddle._make([*np.zeros((4, depth + 2, steps, steps)), np.zeros(steps)])
    q.feature[0] = q.gradient[depth + 1] = 1.0
    for n in range(1, steps + 1):
        for layer in [*range(1, depth + 1), *range(depth, 0, -1)]:
            moments = field_covariance(q, layer, n, problem).reshape(4, n, 4, n)
            q.feature[layer, :n, :n], q.gradient[layer, :n, :n] = moments[0, :, 0], moments[1, :, 1]
            q.feature_response[layer, :n, :n] = np.tril(moments[0, :, 3], -1)
            q.gradient_response[layer - 1, :n, :n] = np.tril(moments[1, :, 2], -1)
            if layer == depth:
                q.alignment[:n] = np.diag(moments[1, :, 0])
    return q


def layer_products(layer: int, problem: Problem) -> dict[Key, np.ndarray]:
    """The entries of q that average over `layer`: the places in (h, g, n_u, n_r) of both factors, each (2, pairs)."""
    steps = problem.steps
    h, g, n_u, n_r = np.arange(4 * steps).reshape(4, steps)
    (late, early), (later, earlier) = np.tril_indices(steps), np.tril_indices(steps, -1)
    products = {("feature", layer): np.stack([h[late], h[early]]), ("gradient", layer): np.stack([g[late], g[early]])}
    if layer < problem.depth:
        products["feature_response", layer] = np.stack([h[later], n_r[earlier]])
    else:
        products["alignment", 0] = np.stack([g, h])
    if layer > 1:
        products["gradient_response", layer - 1] = np.stack([g[late], n_u[early]])
    return products


def layout(problem: Problem) -> tuple[dict[Key, slice], int]:
    """Where each (name, l) stands in the vector q, layer by layer, and the length of q."""
    places, size = {}, 0
    for layer in range(1, problem.depth + 1):
        for key, pairs in layer_products(layer, problem).items():
            places[key] = slice(size, size + pairs.shape[1])
            size += pairs.shape[1]
    return places, size


def wick(moments: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cov(v_i v_j, v_k v_m) = E_ik E_jm + E_im E_jk, (left pairs, right pairs) of (i, j) = left and (k, m) = right."""
    i, j, k, m = *left[:, :, None], *right[:, None, :]
    return moments[i, k] * moments[j, m] + moments[i, m] * moments[j, k]


def layer_jacobian(q: Saddle, layer: int, products: np.ndarray, problem: Problem) -> dict[Key, np.ndarray]:
    """d <products> / d q, by the (name, l) of q that the action of `layer` contains."""
    steps, rate, delta = problem.steps, problem.rate, errors(q, problem)
    moments = field_covariance(q, layer, steps, problem)
    h, g, n_u, n_r = np.arange(4 * steps).reshape(4, steps)
    late, early = np.tril_indices(steps)
    strict = late > early
    by_forward = wick(moments, products, np.stack([n_u[late], g[early]]))  # coefficients C(t, s) of n_u(t) g(s)
    by_backward = wick(moments, products, np.stack([n_r[late], h[early]]))  # coefficients D(t, s) of n_r(t) h(s)
    # Q enters as n Q n / 2: once for each pair off the diagonal, half on it.
    share, feedback = np.where(strict, 1.0, 0.5), rate * strict * delta[early]
    computed = {}
    if layer > 1:
        by_noise = wick(moments, products, np.stack([n_u[late], n_u[early]]))
        computed["feature", layer - 1] = share * by_noise + feedback * by_forward
        computed["feature_response", layer - 1] = by_forward[:, strict]
    if layer < problem.depth:
        by_noise = wick(moments, products, np.stack([n_r[late], n_r[early]]))
        computed["gradient", layer + 1] = share * by_noise + feedback * by_backward
        computed["gradient_response", layer] = by_backward
    by_error = by_forward * q.feature[layer - 1, late, early] + by_backward * q.gradient[layer + 1, late, early]
    by_error = rate * by_error[:, strict] @ np.eye(steps)[early[strict]]
    error_by_alignment = -np.eye(steps)
    error_by_alignment[:, 0] += 1.0
    computed["alignment", 0] = by_error @ error_by_alignment / problem.gamma0
    return computed


def hessian(q: Saddle, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The two blocks of the Hessian, 1 - J and kappa, each dense (len q, len q)."""
    places, size = layout(problem)
    system, kappa = np.eye(size), np.zeros((size, size))
    for layer in range(1, problem.depth + 1):
        named = layer_products(layer, problem)
        rows = slice(places[next(iter(named))].start, places[list(named)[-1]].stop)
        products = np.concatenate(list(named.values()), axis=1)
        kappa[rows, rows] = wick(field_covariance(q, layer, problem.steps, problem), products, products)
        for key, block in layer_jacobian(q, layer, products, problem).items():
            system[rows, places[key]] -= block
    return system, kappa


def propagator(system: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Sigma = (1 - J)^-1 kappa (1 - J)^-T, dense (len q, len q)."""
    factors = lu_factor(system)
    return lu_solve(factors, lu_solve(factors, kappa).T, overwrite_b=True)


def variances(sigma: np.ndarray, q: Saddle, problem: Problem) -> dict[str, np.ndarray]:
    """N Var at each time: of f and K (T,), and of Phi^l and G^l at equal times (L, T)."""
    places, size = layout(problem)
    depth, times = problem.depth, np.arange(problem.steps)
    equal = times * (times + 3) // 2  # where (t, t) stands among the pairs t >= s
    feature = np.stack([places["feature", layer].start + equal for layer in range(1, depth + 1)])
    gradient = np.stack([places["gradient", layer].start + equal for layer in range(1, depth + 1)])
    f, kernel = np.zeros((2, problem.steps, size))
    f[times, places["alignment", 0].start + times] = 1 / problem.gamma0
    f[:, places["alignment", 0].start] -= 1 / problem.gamma0
    kernel[times, feature] = q.gradient[2:, times, times]
    kernel[times, gradient] = q.feature[:-2, times, times]
    return {
        "variance_f": np.einsum("ti,ij,tj->t", f, sigma, f, optimize=True),
        "variance_kernel": np.einsum("ti,ij,tj->t", kernel, sigma, kernel, optimize=True),
        "variance_feature": sigma[feature, feature],
        "variance_gradient": sigma[gradient, gradient],
    }


def solve(depth: int, steps: int, gamma0: float, learning_rate: float, target: float = 1.0) -> dict[str, Any]:
    """Mean and N Var of the prediction and the kernels at steps 0 .. T - 1, with |x|^2 = D.

    Returns f, kernel, variance_f and variance_kernel (T,), feature, gradient, variance_feature and variance_gradient
    (L, T), the kernels at equal times; the length of q (`size`); and seconds, in all and in the three parts.
    """
    problem = Problem(depth, steps, gamma0, learning_rate * gamma0, target)
    began = time.perf_counter()
    q = saddle_point(problem)
    settled = time.perf_counter()
    system, kappa = hessian(q, problem)
    assembled = time.perf_counter()
    sigma = propagator(system, kappa)
    inverted = time.perf_counter()
    feature, gradient = np.diagonal(np.stack([q.feature, q.gradient]), axis1=2, axis2=3)
    return {
        "f": target - errors(q, problem),
        "kernel": (gradient[1:] * feature[:-1]).sum(0),
        "feature": feature[1:-1],
        "gradient": gradient[1:-1],
        **variances(sigma, q, problem),
        "size": len(system),
        "seconds_saddle": settled - began,
        "seconds_hessian": assembled - settled,
        "seconds_inversion": inverted - assembled,
        "seconds": inverted - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Published propagator of deep linear networks, dense in time pairs.")
    parser.add_argument("--depth", type=int, default=3, help="hidden layers L")
    parser.add_argument("--steps", type=int, default=30, help="number of times T")
    parser.add_argument("--gamma0", type=float, default=3.0, help="feature-learning strength")
    parser.add_argument("--learning-rate", type=float, default=0.015, help="step size eta")
    parser.add_argument("--target", type=float, default=1.0, help="target y")
    parser.add_argument("--save", help="a .npz file for all that is found")
    options = parser.parse_args()
    result = solve(options.depth, options.steps, options.gamma0, options.learning_rate, options.target)
    if options.save:
        np.savez(options.save, **result)
    columns = ("f", "kernel", "variance_f", "variance_kernel", "variance_feature", "variance_gradient")
    print("step, f, K, N Var f, N Var K, N Var Phi^1 .. Phi^L, N Var G^1 .. G^L")
    for t in sorted({0, *np.linspace(1, options.steps - 1, 5).astype(int)} & set(range(options.steps))):
        print(f"{t:4d}", *(f"{value:11.5f}" for name in columns for value in np.atleast_1d(result[name][..., t])))
    for name in ("size", "seconds_saddle", "seconds_hessian", "seconds_inversion", "seconds"):
        print(f"{name:18s} {result[name]:.4g}")
    print(f"{'peak memory':18s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
