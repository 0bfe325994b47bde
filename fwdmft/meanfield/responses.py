"""Response functions A and B of plain chains: how a hidden matrix carries the past of a neuron's fields back to it.

Definitions
-----------
The matrix W^l between layers l and l + 1, with initial value W^l(0) of standard deviation sigma, correlates what it
sends forward with what it sends back. In the field theory (arXiv 2205.09653) both are a Gaussian part and memory,

    W^l(0) v^l(t) / sqrt(N_l)       = u^(l+1)(t) + sigma^2 sum_s A^l(t, s) g^(l+1)(s)
    W^l(0)^T g^(l+1)(t) / sqrt(N_l) = r^l(t)     + sigma^2 n_(l+1) / n_l sum_s B^l(t, s) v^l(s)

    A^l(t, s) = <d v^l(t) / d r^l(s)>          B^l(t, s) = <d g^(l+1)(t) / d u^(l+1)(s)>

with sums over points as well. Responses are those of one neuron, all averages held fixed. In a step the forward pass
comes first: A vanishes unless s < t, B unless s <= t (and B(t, t) is an average of phi'' z, zero in linear networks).

Computation
-----------
What a neuron learns is memory of the same form. With Delta(s), the share kappa(t, s) of the direction of step s in the
weights of time t (eta where s < t, in plain descent), and kept(t) of the initial weights (1 without weight decay),

    h^(l+1)(t) = kept(t) u(t) + sum_s [kept(t) sigma^2 A^l(t, s) + gamma0 kappa(t, s) Phi^l(t, s) Delta(s)] g^(l+1)(s)

and z^l likewise. So a perturbation of one neuron follows linear equations, whose coefficients are these kernels and the
derivatives of the local map at the fields h(t), z(t) that a neuron of an ordinary pass went through. Their adjoint, run
backwards from v(t) or g(t), gives a row of A or B from earlier rows: one sweep over t, up the layers for A and down
them for B, without iteration.

The conditional means of `gaussian_matrix` cannot be asked instead: they act as A and B do on the smooth trajectories
of all neurons, which a few basis vectors span, but not on the impulse of one.

Cost: time ~ L S (T P)^3 with all T steps, saved or not, and S the neurons averaged over; memory ~ S T P (L + P).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.chain import Chain
from fwdmft.meanfield.chain_state import LocalMap
from fwdmft.meanfield.compiling import quickly
from fwdmft.meanfield.dynamics import Drive
from fwdmft.meanfield.field_equations import FieldEquations, State, Update
from fwdmft.meanfield.layers import two_time_kernels
from fwdmft.meanfield.simulation import gaussian_matrices
from fwdmft.meanfield.weights import Trained, at_rest, heavy_ball

Kernel = Float[Array, "time point time point"]
Kernels = Float[Array, "layer time point time point"]


class ResponseFunctions(NamedTuple):
    """A^l and B^l of every hidden matrix, (matrix, time, point, time', point')."""

    feature: Array
    gradient: Array


class Course(NamedTuple):
    """What a pass went through: fields of some neurons in every layer, two-time kernels Phi and G, Delta."""

    h: tuple[Float[Array, "time point neuron"], ...]
    z: tuple[Float[Array, "time point neuron"], ...]
    feature: Kernels
    gradient: Kernels
    residual: Float[Array, "time point"]


class Memory(NamedTuple):
    """What h(t) keeps of g(s), and z(t) of v(s), in one layer."""

    ahead: Kernel
    back: Kernel


def is_supported(equations: FieldEquations) -> bool:
    """Whether these are plain, fully connected chains with a hidden matrix and one output."""
    if not isinstance(equations, Chain):
        return False
    wiring = equations.wiring
    return wiring.depth > 1 and wiring.branch is None and wiring.positions == 1 and wiring.outputs == 1


@partial(quickly, static=(3,))
def response_functions(
    equations: FieldEquations, noise: dict[str, Array], drive: Drive, neurons: int
) -> ResponseFunctions:
    """At all pairs of steps, averaged over the first `neurons` of each layer.

    equations: supported ones. drive: with every step saved, without substeps.
    """
    assert isinstance(equations, Chain)
    equations = equations.at_kernel_points(None)  # responses are those of all points
    course = _course(equations, noise, drive, neurons)
    kappa, kept = _shares(drive)
    learned = _learned(equations, course, kappa)
    steps, points = course.residual.shape
    nothing = jnp.zeros((equations.wiring.depth - 1, steps, points, steps, points))

    def one_step(t: Array, found: ResponseFunctions) -> ResponseFunctions:
        return _extended(equations, course, learned, kept, t, found)

    return jax.lax.fori_loop(0, steps, one_step, ResponseFunctions(nothing, nothing))


def _course(equations: Chain, noise: dict[str, Array], drive: Drive, neurons: int) -> Course:
    def step(state: State, at: tuple[Array, Array | None]) -> tuple[State, tuple]:
        rate, batch = at
        f, activity = equations.forward(state, noise)
        residual = drive.residual(f, batch)
        layers = equations.layer_sites(equations.sites(activity))
        h = tuple(field[:, 0, :neurons] for field in activity.h)
        z = tuple(field[:, 0, 0, :neurons] for field in equations.arriving(activity))
        update = Update(rate, drive.momentum, drive.weight_decay)
        return equations.step(state, activity, residual, update), (layers, h, z, residual[:, 0])

    schedule = jax.tree.map(lambda a: a[:, 0], (drive.rates, drive.batches))
    momentum = drive.momentum != 0
    start = equations.initial(noise, gaussian_matrices(equations, noise, momentum), momentum)
    _, (layers, h, z, residual) = jax.lax.scan(step, start, schedule)
    kernels = two_time_kernels(layers)
    gradient = kernels["gradient_kernel_two_time"][:, :, :, 0, :, :, 0]
    return Course(h, z, kernels["feature_kernel_two_time"], gradient, residual)


def _shares(drive: Drive) -> tuple[Float[Array, "time time"], Float[Array, " time"]]:
    """kappa(t, s), and kept(t)."""
    steps = len(drive.rates)

    def one_step(carry: tuple[Trained, Trained], at: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
        (learned, kept), (rate, direction) = carry, at
        update = Update(rate, drive.momentum, drive.weight_decay)
        later = heavy_ball(learned, direction, update), heavy_ball(kept, jnp.zeros(()), update)
        return later, (learned.value, kept.value)

    momentum = drive.momentum != 0
    start = at_rest(jnp.zeros(steps), momentum), at_rest(jnp.ones(()), momentum)
    return jax.lax.scan(one_step, start, (drive.rates[:, 0], jnp.eye(steps)))[1]


def _learned(equations: Chain, course: Course, kappa: Array) -> list[Memory]:
    """The memory of every layer that training adds to the weights below it and behind it."""
    wiring, (steps, points) = equations.wiring, course.residual.shape
    trained = equations.gamma0 * kappa[:, None, :, None] * course.residual
    overlaps = equations.inputs.root @ equations.inputs.root.T
    inputs = jnp.broadcast_to(overlaps[:, None, :], (steps, points, steps, points))
    below = [inputs, *(course.feature[:-1] + wiring.sigma_b**2)]
    behind = [_ratio(equations, m) * course.gradient[m + 1] for m in range(wiring.depth - 1)]
    behind.append(jnp.full_like(inputs, wiring.widths[-1] ** -2.0))
    return [
        Memory(trained * below[layer] * wiring.trained[layer], trained * behind[layer] * wiring.trained[layer + 1])
        for layer in range(wiring.depth)
    ]


def _ratio(equations: Chain, matrix: int) -> float:
    """n_(l+1) / n_l."""
    return equations.wiring.widths[matrix + 1] / equations.wiring.widths[matrix]


def _extended(
    equations: Chain, course: Course, learned: list[Memory], kept: Array, t: Array, found: ResponseFunctions
) -> ResponseFunctions:
    """With the rows of time t, from those of earlier times."""
    matrices = range(equations.wiring.depth - 1)

    def derivatives(layer: int, of_features: bool) -> tuple[Array, Array]:
        memory = _memory(equations, learned, kept, found, layer)
        return adjoint(equations.local[layer], course.h[layer], course.z[layer], memory, t, of_features)

    def row(derivative: Array) -> Float[Array, "point time point"]:
        return jnp.moveaxis(kept[:, None, None] * jnp.mean(derivative, axis=-1), -1, 0)

    for m in matrices:
        _, to_z = derivatives(m, True)
        found = found._replace(feature=found.feature.at[m, t].set(row(to_z)))
    for m in reversed(matrices):
        to_h, _ = derivatives(m + 1, False)
        found = found._replace(gradient=found.gradient.at[m, t].set(row(to_h)))
    return found


def _memory(equations: Chain, learned: list[Memory], kept: Array, found: ResponseFunctions, layer: int) -> Memory:
    """All memory of a layer, as far as the responses are known."""
    wiring, (ahead, back) = equations.wiring, learned[layer]
    initial = kept[:, None, None, None]
    if layer > 0:
        ahead = ahead + wiring.sigma_w[layer] ** 2 * initial * found.feature[layer - 1]
    if layer < wiring.depth - 1:
        strength = wiring.sigma_w[layer + 1] ** 2 * _ratio(equations, layer)
        back = back + strength * initial * found.gradient[layer]
    return Memory(ahead, back)


def adjoint(
    local: LocalMap,
    h: Float[Array, "time point neuron"],
    z: Float[Array, "time point neuron"],
    memory: Memory,
    t: Array,
    of_features: bool,
) -> tuple[Float[Array, "time point target neuron"], Float[Array, "time point target neuron"]]:
    """Derivatives of v(t), or else g(t), at every target point in perturbations of h(s) and of z(s)."""
    points, neurons = h.shape[1:]
    target = jnp.broadcast_to(jnp.eye(points)[..., None], (points, points, neurons))

    def site(h: Array, z: Array) -> tuple[Array, Array]:
        v, pull_back = jax.vjp(local, h[:, None])
        return v[:, 0], pull_back(z[:, None])[0][:, 0]

    def one_step(back: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        s = t - back
        (to_h, to_z), own = found, jnp.where(back == 0, target, 0.0)
        _, pull_back = jax.vjp(site, h[s], z[s])
        derivatives = jax.vmap(pull_back, in_axes=1, out_axes=1)
        from_g = jnp.tensordot(memory.ahead[:, :, s], to_h, axes=((0, 1), (0, 1))) + own * (not of_features)
        # v does not depend on z.
        to_z = to_z.at[s].set(derivatives((jnp.zeros_like(from_g), from_g))[1])
        from_v = jnp.tensordot(memory.back[:, :, s], to_z, axes=((0, 1), (0, 1))) + own * of_features
        return to_h.at[s].set(derivatives((from_v, from_g))[0]), to_z

    nothing = jnp.zeros((len(h), *target.shape))
    return jax.lax.fori_loop(0, t + 1, one_step, (nothing, nothing))
