"""Simulations of few neurons: networks of width n, coupled with those of width r n.

A simulation of n neurons per population with explicit random matrices is a network of width n, at any richness
gamma0(n). Each draw simulates r n neurons, and each of r parts of them by itself with the same random numbers:

    m = mean of q_n over parts        d = contrasts of q_n between parts        Y = q_rn - m

There are r - 1 contrasts, each with the variance of m: sums over parts with orthogonal coefficients, (q_n - q_n') / 2
for r = 2.

To leading order q_N deviates from q by the mean influence of its neurons. In Y this cancels, so Y is small; it tells
how means and variances change with the width. What neurons receive through random matrices is shared as well
(`coupled_matrix`).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.compiling import quickly
from fwdmft.engine import explicit_matrix
from fwdmft.engine.coupled_matrix import coupled
from fwdmft.engine.dynamics import TrainingSignal, trajectory
from fwdmft.engine.explicit_matrix import ExplicitMatrix
from fwdmft.engine.field_equations import FieldEquations, Noise, Observables
from fwdmft.engine.neurons import cut, whole_neurons
from fwdmft.engine.simulation import Observing


class Draws(NamedTuple):
    """Many draws, flattened observables last: m, d, Y."""

    mean: Float[Array, "draw observable"]
    difference: Float[Array, "draw contrast observable"]
    change: Float[Array, "draw observable"]


PARTS = 4
"""r: how many times wider the whole is than its parts."""


def _helmert(count: int) -> Float[np.ndarray, "contrast part"]:
    rows = np.tril(np.ones((count - 1, count)))
    rows[np.arange(count - 1), np.arange(1, count)] = -np.arange(1, count)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) * count**0.5)


CONTRASTS = _helmert(PARTS)
"""Coefficients (contrast, part) of Helmert's contrasts: orthogonal to each other and to the mean, and as long."""

TOGETHER, NUMBERS = 64, 1 << 19
"""Draws that are simulated at once, and numbers of which these consist (`draw_size`), at most: what they are made of
stays in a processor's cache, and memory is that of one draw where this is large."""


class Sampler(eqx.Module):
    """Draws at width n.

    equations: at the richness of width n and of width r n. width: n. at_once: how many draws are simulated at once, at
    most (see the function `at_once`).
    """

    narrow: FieldEquations
    wide: FieldEquations
    training: TrainingSignal
    width: int = eqx.field(static=True)
    observing: Observing = eqx.field(static=True)
    at_once: int = eqx.field(static=True)

    def single(self) -> "Sampler":
        """The same in single precision."""
        kinds = {"f": np.float32, "i": np.int32}
        return jax.tree.map(lambda a: np.asarray(a, kinds.get(a.dtype.kind, a.dtype)) if eqx.is_array(a) else a, self)

    def draws(self, keys: Key[Array, " draw"]) -> Draws:
        """One draw for every key."""
        numbers, matrices = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        return Draws(*jax.vmap(self._networks)(jax.vmap(self._noise)(numbers), matrices))

    def _noise(self, key: Key[Array, ""]) -> Noise:
        populations = self.wide.populations
        counts = {p.name: PARTS * whole_neurons(p.width, self.width) for p in populations}
        rows = [(p.name, p.name, p.gaussians) for p in populations] + _followed(self.wide, self.width)
        numbers = _normal(key, [(count, counts[population]) for _, population, count in rows])
        return {name: a for (name, _, _), a in zip(rows, numbers, strict=True)}

    def _networks(
        self, noise: Noise, key: Key[Array, ""]
    ) -> tuple[Float[Array, " observable"], Float[Array, "contrast observable"], Float[Array, " observable"]]:
        """m, d and Y of one draw."""
        whole, parts = jax.random.split(key)
        both = self._observables(self.wide, noise, whole)
        of_parts = {name: _parts(a, PARTS) for name, a in noise.items()}
        each = jax.vmap(partial(self._observables, self.narrow))(of_parts, jax.random.split(parts, PARTS))
        mean = jnp.mean(each, axis=0)
        return mean, _contrasts(each, 0), both - mean

    def _independent(self, equations: FieldEquations, noise: Noise, key: Key[Array, ""]) -> list[ExplicitMatrix]:
        """Matrices of independent entries between the neurons."""
        matrices, momentum = equations.matrices, self.training.momentum != 0
        numbers = _normal(key, [explicit_matrix.shape(m.prior, m.neurons(noise)) for m in matrices])
        return [explicit_matrix.of(a, m.prior, momentum) for a, m in zip(numbers, matrices, strict=True)]

    def _observables(self, equations: FieldEquations, noise: Noise, key: Key[Array, ""]) -> Float[Array, " observable"]:
        matrices: Sequence[ExplicitMatrix] = self._independent(equations, noise, key)
        if matrices:
            matrices = coupled(equations, noise, matrices, self.training.momentum != 0)
        seen = self._trained(equations, noise, matrices)
        return jnp.concatenate([a.ravel() for _, a in sorted(seen.items())])

    def _trained(self, equations: FieldEquations, noise: Noise, matrices: Sequence[ExplicitMatrix]) -> Observables:
        """Of a network."""
        seen = trajectory(equations, noise, tuple(matrices), self.training, self.observing.__call__)
        return self.observing.complete(seen)


def _followed(equations: FieldEquations, width: int) -> list[tuple[str, str, int]]:
    """Name, population and count of the numbers that matrices follow (`coupled_matrix`), in networks of width n."""
    neurons = {p.name: whole_neurons(p.width, width) for p in equations.populations}
    followed = []
    for matrix in equations.matrices:
        for supply, source in ((matrix.forward, matrix.source), (matrix.backward, matrix.target)):
            # Networks of width n have no more.
            directions = min(supply.leading // matrix.offsets, neurons[source])
            followed.append((supply.name, supply.population, directions * matrix.offsets))
    return followed


def _normal(key: Key[Array, ""], shapes: Sequence[tuple[int, ...]]) -> list[Float[Array, "..."]]:
    """Independent N(0, 1) numbers, all drawn at once: a generator for every shape takes long to compile."""
    return cut(jax.random.normal(key, (sum(map(math.prod, shapes)),)), shapes)


def _parts(a: Float[Array, "*rest neurons"], count: int) -> Float[Array, "part *rest neuron"]:
    """What concerns each of several equal parts of the neurons."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], count, a.shape[-1] // count), -2, 0)


def _contrasts(a: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    return jnp.moveaxis(jnp.tensordot(jnp.asarray(CONTRASTS, a.dtype), a, axes=(1, axis)), 0, axis)


def observable_shapes(sampler: Sampler) -> dict[str, tuple[int, ...]]:
    """Shapes (time, ...) of the observables, in the order in which `Draws` has them."""

    def shapes(sampler: Sampler, key: Key[Array, ""]) -> Observables:
        noise = sampler._noise(key)
        return sampler._trained(sampler.wide, noise, sampler._independent(sampler.wide, noise, key))

    return {name: a.shape for name, a in sorted(eqx.filter_eval_shape(shapes, sampler, jax.random.key(0)).items())}


def draw_size(equations: FieldEquations, site_numbers: int, width: int) -> int:
    """How many numbers the fields and the matrices of the wide network of a draw are, about.

    site_numbers: fields of one neuron of every population. width: n.
    """
    neurons = PARTS * width
    return neurons * (site_numbers + neurons * sum(matrix.offsets for matrix in equations.matrices))


def at_once(size: int) -> int:
    """How many draws of this `draw_size` are simulated at once, at most."""
    return min(TOGETHER, max(1, NUMBERS // size))


@quickly
def draws(sampler: Sampler, keys: Key[Array, " draw"]) -> Draws:
    """One draw for every key, as many at once as is fast."""
    count = max(part for part in range(1, sampler.at_once + 1) if len(keys) % part == 0)
    if count == len(keys):
        return sampler.draws(keys)
    blocks = jax.lax.map(sampler.draws, keys.reshape(-1, count))
    return jax.tree.map(lambda a: a.reshape(len(keys), *a.shape[2:]), blocks)
