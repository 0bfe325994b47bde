"""Positions of a layer: where the weights of a convolution read, and what pooling averages over.

A layer has one field per position and neuron (channel). Weights with several offsets k read, at every place a of the
next layer, the positions a + k of this one; what lies outside is zero. A fully connected layer has one position, and
its weights one offset.
"""

from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class Stencil:
    """For every offset and place, the position that is read there, or -1 for none.

    reads: (offset, place). sources: number of positions there are to read. At one offset no position is read twice.
    """

    reads: tuple[tuple[int, ...], ...]
    sources: int

    @property
    def offsets(self) -> int:
        return len(self.reads)

    @property
    def places(self) -> int:
        return len(self.reads[0])

    @property
    def transposed(self) -> "Stencil":
        """Who reads what: for every offset and position, the place that reads it."""
        return _transposed(self)

    @property
    def simple(self) -> bool:
        """Whether every place reads the position of the same number, and nothing else."""
        return self.reads == (tuple(range(self.sources)),)

    def read(self, a: Float[Array, "*rest source"]) -> Float[Array, "*rest offset place"]:
        """What is read of quantities at positions."""
        return a[..., None, :] if self.simple else jnp.tensordot(a, _operator(self), axes=([-1], [2]))

    def rows(self, a: Float[Array, "*rest source neuron"]) -> Float[Array, "*rest place offset neuron"]:
        """What is read of fields at positions.

        Whole rows of neurons are copied, which takes less than a product with zeros and ones where positions are many.
        """
        if self.simple:
            return a[..., None, :]
        positions, a = self._within(a)
        read = a.at[..., positions.T.ravel(), :].get(mode="promise_in_bounds")
        return read.reshape(*a.shape[:-2], *positions.T.shape, a.shape[-1])

    def products(
        self, weights: Float[Array, "offset out in"], v: Float[Array, "*rest source in"]
    ) -> Float[Array, "*rest place out"]:
        """sum_k W_k v_(a+k) at every place a.

        Products of all positions with all W_k are taken at once, and those that a place reads are summed as they are
        read: this moves less memory than copies of v for every offset do. Where places are fewer than positions, copies
        are less work.
        """
        if self.simple or self.places < self.sources:
            return jnp.einsum("koi,...aki->...ao", weights, self.rows(v))
        positions, v = self._within(v)
        each = jnp.einsum("koi,...si->k...so", weights, v)
        read = [one.at[..., at, :].get(mode="promise_in_bounds") for one, at in zip(each, positions, strict=True)]
        return sum(read[1:], read[0])

    def outer_products(
        self, s: Float[Array, "vector place out"], v: Float[Array, "vector source in"]
    ) -> Float[Array, "offset out in"]:
        """sum_a s_a v_(a+k)^T for every offset k, summed over vectors."""
        # With vectors and places as one axis, what is copied keeps its order in memory.
        rows = self.rows(v).reshape(-1, self.offsets * v.shape[-1])
        summed = s.reshape(-1, s.shape[-1]).T @ rows
        return jnp.moveaxis(summed.reshape(-1, self.offsets, v.shape[-1]), 1, 0)

    def _within(
        self, a: Float[Array, "*rest source neuron"]
    ) -> tuple[Int[np.ndarray, "offset place"], Float[Array, "*rest source_or_one_more neuron"]]:
        """The positions that are read, and fields that have zeros where there is none."""
        positions = np.array(self.reads)
        if positions.min() >= 0:
            return positions, a
        # The last position, which is number -1 as well, has zeros.
        a = jnp.concatenate([a, jnp.zeros_like(a[..., :1, :])], axis=-2)
        return positions % a.shape[-2], a

    def overlap(self, kernel: Float[Array, "*between source"], rank: int) -> Float[Array, "..."]:
        """Mean over offsets of a kernel between positions, at those that are read.

        kernel: (*a, source, *b, source), which becomes (*a, place, *b, place). rank: number of axes `*a`, and of `*b`.
        """
        if self.simple:
            return kernel
        kernel = jnp.moveaxis(kernel, (rank, -1), (-2, -1))
        if self.sources * self.places < self.offsets * (self.sources + self.places):
            # Few positions: a single product is less work than one for each side.
            flat = kernel.reshape(*kernel.shape[:-2], -1) @ _pairs(self)
            both = flat.reshape(*kernel.shape[:-2], self.places, self.places)
        else:
            operator = _operator(self)
            both = jnp.einsum("kas,...st,kbt->...ab", operator, kernel, operator, optimize=True) / self.offsets
        return jnp.moveaxis(both, -2, rank)

    def mean(self, rows: Float[Array, "*rest source neuron"]) -> Float[Array, "*rest place neuron"]:
        """Average over offsets, as pooling takes it."""
        return rows if self.simple else jnp.einsum("as,...sn->...an", _operator(self).mean(axis=0), rows)


POINT = Stencil(((0,),), 1)
"""One position that reads one position: what a fully connected layer has."""


@cache
def _operator(stencil: Stencil) -> Float[np.ndarray, "offset place source"]:
    """1 where a place reads a position at an offset."""
    operator = np.zeros((stencil.offsets, stencil.places, stencil.sources + 1))
    for offset, positions in enumerate(stencil.reads):
        operator[offset, np.arange(stencil.places), np.array(positions)] = 1.0
    return operator[..., :-1]


@cache
def _pairs(stencil: Stencil) -> Float[np.ndarray, "source_source place_place"]:
    """The share of offsets at which two places read two positions."""
    operator = _operator(stencil)
    pairs = np.einsum("kas,kbt->stab", operator, operator) / stencil.offsets
    return pairs.reshape(stencil.sources**2, stencil.places**2)


@cache
def _transposed(stencil: Stencil) -> Stencil:
    reads = -np.ones((stencil.offsets, stencil.sources), int)
    for offset, positions in enumerate(stencil.reads):
        for place, position in enumerate(positions):
            if position >= 0:
                if reads[offset, position] >= 0:
                    raise ValueError(f"position {position} is read twice at offset {offset}")
                reads[offset, position] = place
    return Stencil(tuple(map(tuple, reads.tolist())), stencil.places)
