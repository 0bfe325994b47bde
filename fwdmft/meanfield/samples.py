"""Simulations of few neurons: networks of width n, coupled with each other and with mean-field neurons.

A simulation of n neurons per population with explicit random matrices is a network of width n, at any richness
gamma0(n). Each draw simulates 2n neurons, and each half of them by itself with the same random numbers:

    m = (q_n + q_n') / 2        d = (q_n - q_n') / 2        Y = q_2n - m

To leading order q_N deviates from q by the mean influence of its neurons. In Y this cancels, so Y is small; it tells
how means and variances change with the width. Control variates x (`controls`) tell most of m and d. The matrices share
the neurons' random numbers, see `explicit_matrix.shared_with`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield import explicit_matrix
from fwdmft.meanfield.controls import Controls, Replay, replay
from fwdmft.meanfield.dynamics import Drive, trajectory
from fwdmft.meanfield.explicit_matrix import Directions, ExplicitMatrix
from fwdmft.meanfield.field_equations import FieldEquations, Observables
from fwdmft.meanfield.simulation import Observing


class Draws(NamedTuple):
    """Many draws, flattened observables last. mean, difference, change: m, d, Y. x, x_difference: of the controls."""

    mean: Float[Array, "draw observable"]
    difference: Float[Array, "draw observable"]
    change: Float[Array, "draw observable"]
    x: Float[Array, "draw component"]
    x_difference: Float[Array, "draw component"]


class Sampler(eqx.Module):
    """Draws at width n.

    equations: at the richness of width n and of width 2n. controls: None for none. width: n.
    """

    narrow: FieldEquations
    wide: FieldEquations
    drive: Drive
    controls: Controls | None
    width: int = eqx.field(static=True)
    observing: Observing = eqx.field(static=True)

    def single(self) -> "Sampler":
        """The same in single precision."""
        kinds = {"f": np.float32, "i": np.int32}
        return jax.tree.map(lambda a: np.asarray(a, kinds.get(a.dtype.kind, a.dtype)) if eqx.is_array(a) else a, self)

    def draw(self, key: Array) -> Draws:
        """One draw, without the leading axis."""
        key, numbers = jax.random.split(key)
        noise, counts = self._noise(numbers)
        found = None if self.controls is None else replay(self.controls, noise)
        whole = self._observables(self.wide, noise, found, key)
        halves = [
            (
                {name: a[..., half * a.shape[-1] // 2 :][..., : a.shape[-1] // 2] for name, a in noise.items()},
                None if found is None else _half(found, half),
            )
            for half in range(2)
        ]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *halves)
        keys = jax.random.split(jax.random.fold_in(key, 1))
        each = jax.vmap(lambda h, k: self._observables(self.narrow, h[0], h[1], k))(stacked, keys)
        first, second = each[0], each[1]
        mean = (first + second) / 2
        none = jnp.zeros(0, mean.dtype)
        x = none if found is None else jnp.concatenate([jnp.mean(a, axis=1) for a in found.x.values()])
        x_first = (
            none if found is None else jnp.concatenate([jnp.mean(a[:, : a.shape[1] // 2], 1) for a in found.x.values()])
        )
        return Draws(mean, (first - second) / 2, whole - mean, x, x_first - x)

    def _noise(self, key: Array) -> tuple[dict[str, Array], dict[str, int]]:
        equations = self.wide if self.controls is None else self.controls.equations
        counts = {p.name: neurons_of(p.width, 2 * self.width) for p in equations.populations}
        rows = [(p.name, p.name, p.gaussians) for p in equations.populations]
        if self.controls is not None:
            rows += [(s.name, s.population, s.count) for s in equations.supplies]
        noise = {
            name: jax.random.normal(jax.random.fold_in(key, i), (count, counts[population]))
            for i, (name, population, count) in enumerate(rows)
        }
        return noise, counts

    def _observables(
        self, equations: FieldEquations, noise: dict[str, Array], found: Replay | None, key: Array
    ) -> Float[Array, " observable"]:
        momentum = self.drive.momentum != 0
        matrices = []
        for i, matrix in enumerate(equations.matrices):
            neurons = noise[matrix.source].shape[-1], noise[matrix.target].shape[-1]
            own = jax.random.fold_in(key, i)
            drawn = explicit_matrix.between(neurons, matrix.law, momentum, own, noise[matrix.source].dtype)
            matrices.append(drawn if found is None else self._shared(drawn, i, noise, found))
        seen = trajectory(equations, noise, tuple(matrices), self.drive, self.observing)
        return jnp.concatenate([a.ravel() for _, a in sorted(self.observing.complete(seen).items())])

    def _shared(self, drawn: ExplicitMatrix, number: int, noise: dict[str, Array], found: Replay) -> ExplicitMatrix:
        assert self.controls is not None
        matrix, replayed = self.controls.equations.matrices[number], found.matrices[number]

        def directions(basis: Array, supply: str) -> Directions:
            rows = noise[supply]
            return Directions(basis, rows.reshape(len(basis), -1, rows.shape[-1]))

        return explicit_matrix.shared_with(
            drawn,
            directions(replayed.forward.basis, matrix.forward.name),
            directions(replayed.backward.basis, matrix.backward.name),
            self.controls.records[number].order,
            matrix.law,
        )


def _half(found: Replay, half: int) -> Replay:
    """What concerns half of the neurons."""

    def cut(a: Array) -> Array:
        size = a.shape[-1] // 2
        return a[..., half * size : (half + 1) * size]

    matrices = tuple(
        matrix._replace(
            forward=matrix.forward._replace(basis=cut(matrix.forward.basis)),
            backward=matrix.backward._replace(basis=cut(matrix.backward.basis)),
        )
        for matrix in found.matrices
    )
    return Replay({name: cut(a) for name, a in found.x.items()}, matrices)


def neurons_of(share: float, width: int) -> int:
    """Number of neurons of a population of this share in a network of some width."""
    return round(share * width)


def observable_shapes(sampler: Sampler) -> dict[str, tuple[int, ...]]:
    """Shapes (time, ...) of the observables, in the order in which `Draws` has them."""

    def shapes(sampler: Sampler, key: Array) -> Observables:
        noise, _ = sampler._noise(key)
        equations, momentum = sampler.wide, sampler.drive.momentum != 0
        matrices = tuple(
            explicit_matrix.between(
                (noise[m.source].shape[-1], noise[m.target].shape[-1]), m.law, momentum, key, noise[m.source].dtype
            )
            for m in equations.matrices
        )
        return sampler.observing.complete(trajectory(equations, noise, matrices, sampler.drive, sampler.observing))

    return {name: a.shape for name, a in sorted(eqx.filter_eval_shape(shapes, sampler, jax.random.key(0)).items())}


@eqx.filter_jit
def draws(sampler: Sampler, keys: Array) -> Draws:
    """One draw for every key."""
    return jax.vmap(sampler.draw)(keys)


Drawing = Callable[[Any], Draws]
