"""Order parameters that enter the forward pass: averages over the neurons at hand, or those of a large simulation.

In a network, and in the large simulation, an average is the mean over the neurons of a population. A mean-field neuron
has no company: it is shown the averages that a large simulation has recorded, and what the prediction depends on them
with (`replayed`), as it is shown recorded residuals and the record of random matrices (`replayed_matrix`).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class AverageRecord(NamedTuple):
    """Of one average in every pass: its values, and gamma0 d f / d of them."""

    values: Float[Array, "pass point *site"]
    slopes: Float[Array, "pass point output *site"]


class Averages(NamedTuple):
    """How averages are taken. records: of each, none if nothing is kept. done: passes so far.

    given: whether the records hold what is to be used, or room for what the passes will bring.
    """

    records: tuple[AverageRecord, ...]
    done: Int[Array, ""]
    given: Bool[Array, ""] | None

    def value(self, number: int, o: Float[Array, "point *site neuron"]) -> Float[Array, "point *site"]:
        """Of an average."""
        if self.given is None:
            return jnp.mean(o, axis=-1)
        return self.records[number].values[self.done]

    def slope(self, number: int, own: Float[Array, "point output *site"]) -> Float[Array, "point output *site"]:
        """gamma0 d f / d average, which is `own` for the neurons at hand."""
        return own if self.given is None else self.records[number].slopes[self.done]

    def after(
        self, values: list[Float[Array, "point ..."]], slopes: list[Float[Array, "point output ..."]]
    ) -> "Averages":
        """With the values and slopes of one more pass."""
        if not self.records:
            return self
        records = self.records
        if self.given is None:
            new = tuple(AverageRecord(*pair) for pair in zip(values, slopes, strict=True))
            put = partial(jax.lax.dynamic_update_index_in_dim, index=self.done, axis=0)
            records = jax.tree.map(put, records, new)
        return self._replace(records=records, done=self.done + 1)


def plain() -> Averages:
    """Over the neurons at hand, without a record."""
    return Averages((), jnp.zeros((), jnp.int32), None)


def recording(shapes: Sequence[tuple[int, ...]], predictions: tuple[int, ...], passes: int) -> Averages:
    """Over the neurons at hand, with a record of so many passes.

    shapes: sites of each average. predictions: their shape (point, output).
    """
    records = tuple(
        AverageRecord(jnp.zeros((passes, predictions[0], *sites)), jnp.zeros((passes, *predictions, *sites)))
        for sites in shapes
    )
    return Averages(records, jnp.zeros((), jnp.int32), None)


def replayed(records: tuple[AverageRecord, ...]) -> Averages:
    """Those of a record."""
    return Averages(records, jnp.zeros((), jnp.int32), jnp.ones((), bool))
