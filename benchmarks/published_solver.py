"""The published alternating-sampling solver for two-layer networks: the baseline the engine is timed against.

Written from its description in arXiv 2205.09653 (Algorithm 1: the saddle point) and arXiv 2304.03408 (the
propagator of two-layer networks). It shares no code with fwdmft. Setting: one training point (target y) and
one test point, |x|^2 = D, overlap Phi0_12 = `phi0`, phi(h) = tanh(a h) / a, squared error, centred output,
full-batch steps of size eta. Times are steps 0 .. T - 1; [L](t, s) = 1 for s < t, else 0, and c = eta gamma0.

1. Saddle point. Draw S neurons u ~ N(0, Phi0), r ~ N(0, 1) once, and alternate until the kernels settle:

    error    Delta(t) = y - eta sum_{s<t} K(s) Delta(s),          K(t) = Phi(t, t) + G(t, t)
    fields   h_mu = u_mu + c Phi0_{mu 1} L (Delta g_1),   z = r + c L (Delta phi(h_1)),   g_mu = z phi'(h_mu)
             by fixed-point iteration of whole trajectories (products with T x T integration matrices)
    kernels  Phi~(t, s) = <phi(h(t)) phi(h(s))>,  G~(t, s) = <g(t) g(s)>   (averages over the S neurons)
    damping  Phi <- (1 - beta) Phi + beta Phi~, and G likewise

2. Propagator. With K = Phi + G of the training point, K* = Phi + Phi0_12 G between test and training
   point, and xi a Gaussian field with the covariance kappa of one neuron's summands in (K, K*), fluctuations of
   order N^(-1/2) obey

    delta Delta + eta L (K delta Delta + Delta delta K) = 0        delta K  = xi_K  + D_K  delta Delta
    delta f*    - eta L (K* delta Delta + Delta delta K*) = 0      delta K* = xi_K* + D_K* delta Delta

   that is M (delta q) = xi for q = (Delta, K, f*, K*), so N Cov(q) = M^-1 kappa M^-T. The responses
   D_K(t, s) = <d k(t) / d Delta(s)> need H(t, s) = dh(t)/dDelta(s) and Z(t, s) = dz(t)/dDelta(s) of a
   neuron:

    [I - c L Delta (z phi'' + phi' c L Delta phi')] H = c L [g + Delta phi' c L phi]
    Z = c L (phi + Delta phi' H)

   (fields stand for diagonal matrices), solved as dense samples x T x T tensors for `derivative_samples`
   neurons.

`update="kernel"` is the published algorithm: f moves by eta K Delta, which is first order in eta, while
gradient descent also moves f by eta^2 gamma0^2 terms. `update="average"` replaces that one equation by the
exact average f(t) = <z phi(h)>/gamma0 - <r phi(u)>/gamma0 of discrete time, in the saddle point and in the
propagator, and leaves everything else as it is: it shows which part of the error is the step size and which
is sampling.
"""

from __future__ import annotations

import argparse
import resource
import time
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Update = Literal["kernel", "average"]
SITES = ("train_kernel", "test_kernel", "train_output", "test_output")


class Fields(NamedTuple):
    """Sample neurons' trajectories, each (S, T): preactivations at both points, and the readout field z."""

    train: Array
    test: Array
    readout: Array


class Problem(NamedTuple):
    """Scalars of the setting: slope a, gamma0, step size eta, overlap Phi0_12 and target y."""

    scale: float
    gamma0: float
    eta: float
    overlap: float
    target: float


def activation(h: Array, scale: float) -> tuple[Array, Array, Array]:
    """phi, phi' and phi'' of phi(h) = tanh(a h) / a."""
    t = jnp.tanh(scale * h)
    slope = 1.0 - t**2
    return t / scale, slope, -2.0 * scale * t * slope


def draw(key: Array, samples: int, overlap: float) -> Fields:
    """Initial fields (u at the training point, u at the test point, r) of S neurons, each (S, 1)."""
    normal = jax.random.normal(key, (3, samples, 1))
    return Fields(normal[0], overlap * normal[0] + jnp.sqrt(1.0 - overlap**2) * normal[1], normal[2])


def integrator(steps: int) -> Array:
    """L, the strictly lower triangular (T, T) matrix of ones: (L a)(t) = sum_{s<t} a(s)."""
    return jnp.tril(jnp.ones((steps, steps)), -1)


@partial(jax.jit, static_argnames="limit")
def solve_fields(
    start: Fields, noise: Fields, delta: Array, problem: Problem, tolerance: float, limit: int
) -> tuple[Fields, Array]:
    """Fixed-point iteration of whole trajectories at given Delta (T,): the fields and the iterations used."""
    integral = problem.eta * problem.gamma0 * (integrator(delta.size) * delta).T

    def iterate(state: tuple[Fields, Array, Array]) -> tuple[Fields, Array, Array]:
        fields, _, count = state
        phi, slope, _ = activation(fields.train, problem.scale)
        shift = (fields.readout * slope) @ integral
        test = noise.test + problem.overlap * shift
        new = Fields(noise.train + shift, test, noise.readout + phi @ integral)
        change = jnp.sqrt(jnp.mean((new.train - fields.train) ** 2 + (new.readout - fields.readout) ** 2))
        return new, change, count + 1

    state = (start, jnp.asarray(jnp.inf), jnp.asarray(0))
    fields, _, count = jax.lax.while_loop(lambda s: (s[1] > tolerance) & (s[2] < limit), iterate, state)
    return fields, count


@jax.jit
def kernels(fields: Fields, scale: float) -> tuple[Array, Array]:
    """Sample averages Phi(t, s) and G(t, s) between and at both points, each (2, T, 2, T)."""
    phi, slope, _ = activation(jnp.stack([fields.train, fields.test]), scale)
    g = fields.readout * slope
    samples = phi.shape[1]
    return jnp.einsum("mst,nsu->mtnu", phi, phi) / samples, jnp.einsum("mst,nsu->mtnu", g, g) / samples


def tangent(phi: Array, gradient: Array, overlap: float) -> Array:
    """Equal-time tangent kernel with the training point: (T, 2), training point first."""
    phi, gradient = (jnp.diagonal(kernel[:, :, 0, :], axis1=1, axis2=2).T for kernel in (phi, gradient))
    return phi + jnp.array([1.0, overlap]) * gradient


@jax.jit
def integrate(kernel: Array, problem: Problem) -> Array:
    """f (T, 2) from f(t + 1) = f(t) + eta K(t) Delta(t), f(0) = 0, given the tangent kernel (T, 2)."""

    def step(f: Array, k: Array) -> tuple[Array, Array]:
        return f + problem.eta * k * (problem.target - f[0]), f

    return jax.lax.scan(step, jnp.zeros(2), kernel)[1]


@jax.jit
def sites(fields: Fields, problem: Problem) -> dict[str, Array]:
    """Every neuron's summand in K, K*, f and f* (centred), each (S, T)."""
    phi, slope, _ = activation(fields.train, problem.scale)
    phi_test, slope_test, _ = activation(fields.test, problem.scale)
    z = fields.readout
    output = z * phi / problem.gamma0
    output_test = z * phi_test / problem.gamma0
    values = (
        phi**2 + (z * slope) ** 2,
        phi * phi_test + problem.overlap * z**2 * slope * slope_test,
        output - output[:, :1],
        output_test - output_test[:, :1],
    )
    return dict(zip(SITES, values, strict=True))


def averages(fields: Fields, problem: Problem) -> Array:
    """f (T, 2) as the average of the neurons' summands."""
    site = sites(fields, problem)
    return jnp.stack([site["train_output"].mean(0), site["test_output"].mean(0)], axis=1)


def field_responses(fields: Fields, delta: Array, problem: Problem) -> tuple[Array, Array]:
    """H = dh(t)/dDelta(s) at the training point and Z = dz(t)/dDelta(s), each (S, T, T)."""
    phi, slope, curvature = activation(fields.train, problem.scale)
    rate = problem.eta * problem.gamma0 * integrator(delta.size)
    source = rate * (fields.readout * slope)[:, None, :]
    readout_source = rate * phi[:, None, :]
    feedback = rate * (delta * slope)[:, None, :]
    bending = rate * (delta * fields.readout * curvature)[:, None, :]
    system = jnp.eye(delta.size) - bending - feedback @ feedback
    h = jax.scipy.linalg.solve_triangular(system, source + feedback @ readout_source, lower=True)
    return h, readout_source + feedback @ h


@jax.jit
def responses(fields: Fields, delta: Array, problem: Problem) -> dict[str, Array]:
    """<d site(t) / d Delta(s)> of each function in `sites`, (T, T), through samples x T x T tensors."""
    h, readout = field_responses(fields, delta, problem)
    h_test = problem.overlap * h
    z = fields.readout[:, :, None]
    phi, slope, curvature = activation(fields.train[:, :, None], problem.scale)
    phi_test, slope_test, curvature_test = activation(fields.test[:, :, None], problem.scale)
    g = slope * readout + z * curvature * h
    g_test = slope_test * readout + z * curvature_test * h_test
    features = phi_test * slope * h + phi * slope_test * h_test
    gradients = z * (slope_test * g + slope * g_test)
    values = (
        2.0 * (phi * slope * h + z * slope * g),
        features + problem.overlap * gradients,
        (phi * readout + z * slope * h) / problem.gamma0,
        (phi_test * readout + z * slope_test * h_test) / problem.gamma0,
    )
    return {name: value.mean(axis=0) for name, value in zip(SITES, values, strict=True)}


def average_responses(fields: Fields, delta: Array, problem: Problem, chunk: int) -> dict[str, Array]:
    """`responses` averaged over all given neurons, `chunk` of them at a time."""
    samples = fields.train.shape[0]
    total = dict.fromkeys(SITES, jnp.zeros((delta.size, delta.size)))
    for start in range(0, samples, chunk):
        part = Fields(*(field[start : start + chunk] for field in fields))
        weight = part.train.shape[0] / samples
        computed = responses(part, delta, problem)
        total = {name: total[name] + weight * computed[name] for name in SITES}
    return total


def mix(old: Array, new: Array, damping: float) -> Array:
    """The damped update: `damping` (beta) is the weight of the new value."""
    return (1.0 - damping) * old + damping * new


def relative(new: Array, old: Array) -> float:
    """Norm of the change of a kernel over the norm of the kernel."""
    return float(jnp.linalg.norm((new - old).ravel()) / jnp.linalg.norm(old.ravel()))


def saddle_point(
    noise: Fields, problem: Problem, steps: int, update: Update, damping: float, tolerance: float, limit: int
) -> tuple[Fields, Array, Array, dict[str, int]]:
    """Alternate fields and kernels until both kernels change by less than `tolerance` of their norm.

    Returns the fields, f (T, 2), K (T, 2) and the numbers of outer and inner iterations. Raises RuntimeError
    if `limit` outer iterations do not suffice.
    """
    fields = Fields(*(jnp.broadcast_to(field, (field.shape[0], steps)) for field in noise))
    phi, gradient = kernels(fields, problem.scale)
    f = integrate(tangent(phi, gradient, problem.overlap), problem)
    inner = 0
    for outer in range(1, limit + 1):
        fields, count = solve_fields(fields, noise, problem.target - f[:, 0], problem, tolerance, steps)
        inner += int(count)
        new_phi, new_gradient = kernels(fields, problem.scale)
        change = max(relative(new_phi, phi), relative(new_gradient, gradient))
        phi, gradient = mix(phi, new_phi, damping), mix(gradient, new_gradient, damping)
        kernel = tangent(phi, gradient, problem.overlap)
        moved = integrate(kernel, problem) if update == "kernel" else averages(fields, problem)
        f = moved if update == "kernel" else mix(f, moved, damping)
        if change < tolerance:
            return fields, f, kernel, {"outer_iterations": outer, "inner_iterations": inner}
    raise RuntimeError(f"no convergence: after {limit} outer iterations the kernels change by {change:.1e}")


@partial(jax.jit, static_argnames="update")
def propagator(
    site: dict[str, Array],
    response: dict[str, Array],
    f: Array,
    kernel: Array,
    problem: Problem,
    update: Update,
) -> dict[str, Array]:
    """N Var (T,) of f, f* and K from M^-1 kappa M^-T, in T x T blocks over (Delta, K, f*, K*)."""
    steps = f.shape[0]
    one, zero = jnp.eye(steps), jnp.zeros((steps, steps))
    delta, rate = problem.target - f[:, 0], problem.eta * integrator(steps)
    none = jnp.zeros_like(site["train_kernel"])
    if update == "kernel":
        error_row, error_source = [one + rate * kernel[:, 0], rate * delta, zero, zero], none
        test_row, test_source = [-rate * kernel[:, 1], zero, one, -rate * delta], none
    else:
        error_row, error_source = [one + response["train_output"], zero, zero, zero], -site["train_output"]
        test_row, test_source = [-response["test_output"], zero, one, zero], site["test_output"]
    kernel_row = [-response["train_kernel"], one, zero, zero]
    test_kernel_row = [-response["test_kernel"], zero, zero, one]
    matrix = jnp.block([error_row, kernel_row, test_row, test_kernel_row])
    source = jnp.concatenate([error_source, site["train_kernel"], test_source, site["test_kernel"]], axis=1)
    centred = source - source.mean(axis=0)
    kappa = centred.T @ centred / source.shape[0]
    covariance = jnp.linalg.solve(matrix, jnp.linalg.solve(matrix, kappa).T)
    variance = jnp.diagonal(covariance).reshape(4, steps)
    return {"variance_f": variance[0], "variance_f_test": variance[2], "variance_kernel": variance[1]}


def solve(
    phi_scale: float = 0.4,
    gamma0: float = 3.0,
    eta: float = 0.01,
    steps: int = 250,
    phi0: float = 0.5156,
    y: float = 1.0,
    samples: int = 10_000,
    derivative_samples: int = 1_000,
    seed: int = 0,
    update: Update = "kernel",
    chunk: int | None = None,
    damping: float = 0.5,
    tolerance: float = 1e-4,
    limit: int = 500,
) -> dict[str, Any]:
    """Mean and N Var of the predictions and the tangent kernel of the setting above.

    `samples` neurons serve the saddle point and kappa, the first `derivative_samples` of them the response
    tensors: all at once as published, or `chunk` at a time, which needs less memory. `tolerance` stops the
    inner (rms change of the fields) and the outer (relative change of the kernels) iteration; it should lie
    below the Monte-Carlo error, about samples**-0.5. Returns f, f_test, kernel, variance_f, variance_f_test
    and variance_kernel (numpy arrays (T,) indexed by step), the iteration counts and seconds.
    """
    began = time.perf_counter()
    problem = Problem(phi_scale, gamma0, eta, phi0, y)
    with jax.enable_x64(True):
        noise = draw(jax.random.key(seed), samples, phi0)
        fields, f, kernel, counts = saddle_point(noise, problem, steps, update, damping, tolerance, limit)
        few = Fields(*(field[:derivative_samples] for field in fields))
        response = average_responses(few, y - f[:, 0], problem, chunk or derivative_samples)
        computed = propagator(sites(fields, problem), response, f, kernel, problem, update)
        computed = {"f": f[:, 0], "f_test": f[:, 1], "kernel": kernel[:, 0], **computed}
        arrays = {name: np.asarray(value) for name, value in computed.items()}
    return {**arrays, **counts, "seconds": time.perf_counter() - began}


def arguments() -> argparse.Namespace:
    """The command line: the arguments of `solve`, and where to save."""
    parser = argparse.ArgumentParser(description="Published alternating-sampling solver, two-layer network.")
    parser.add_argument("--phi-scale", type=float, default=0.4, help="slope a of phi(h) = tanh(a h)/a")
    parser.add_argument("--gamma0", type=float, default=3.0, help="feature-learning strength")
    parser.add_argument("--eta", type=float, default=0.01, help="step size")
    parser.add_argument("--steps", type=int, default=250, help="number of times T")
    parser.add_argument("--phi0", type=float, default=0.5156, help="overlap of test and training point")
    parser.add_argument("--y", type=float, default=1.0, help="target")
    parser.add_argument("--samples", type=int, default=10_000, help="Monte-Carlo neurons")
    parser.add_argument("--derivative-samples", type=int, default=1_000, help="neurons of the tensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--update", choices=("kernel", "average"), default="kernel", help="how f moves")
    parser.add_argument("--chunk", type=int, help="neurons whose tensors are held at once (default: all)")
    parser.add_argument("--save", help="also write the arrays to this .npz file")
    return parser.parse_args()


def main() -> None:
    options = vars(arguments())
    path = options.pop("save")
    result = solve(**options)
    if path:
        np.savez(path, **result)
    for name, value in result.items():
        print(f"{name:18s} {value[-1]:.6f} (last step)" if np.ndim(value) else f"{name:18s} {value:g}")
    print(f"{'peak memory':18s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
