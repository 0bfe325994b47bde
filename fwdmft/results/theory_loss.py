"""The loss that the theory expects, at infinite width and of networks of width N to order 1/N."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft import losses
from fwdmft.compiling import quickly
from fwdmft.experiment.loss import LossSpec

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset
    from fwdmft.theory import TheoryResult


class TheoryLoss(NamedTuple):
    """Losses over (train, test); NaN of a split without points.

    infinite: (time, split). infinite_error: bound on its standard error, reached if the errors of all predictions go
    together. at_width: (width, time, split), None without Sigma or b. at_width_error: its standard
    error through Sigma and b, which the samplings behind them show. That of `infinite` is not in it: it moves the
    losses at all widths together.
    """

    infinite: np.ndarray
    infinite_error: np.ndarray | None = None
    widths: Sequence[int] = ()
    at_width: np.ndarray | None = None
    at_width_error: np.ndarray | None = None


def theory_loss(loss: LossSpec, dataset: Dataset, theory: TheoryResult, widths: Sequence[int]) -> TheoryLoss:
    """See `TheoryLoss`. Call it where JAX computes in float64."""
    covariances, biases = theory.equal_time_covariances, theory.prediction_biases
    known = covariances is not None and biases is not None and bool(theory.variance) and bool(theory.bias)
    f, error = theory.mean["prediction"], theory.standard_error.get("prediction")
    splits = []
    for chosen in (dataset.train, ~dataset.train):
        at = np.flatnonzero(chosen)
        part = _Part(
            f[:, at],
            dataset.y[at].astype(float),
            None if error is None else error[:, at],
            covariances[:, :, at] if known and covariances is not None else None,
            biases[:, :, at] if known and biases is not None else None,
        )
        splits.append(jax.tree.map(np.asarray, quickly(_of_split, (0,))(loss, part)) if len(at) else _nowhere(part))
    infinite, bound, shifts = jax.tree.map(lambda *parts: np.stack(parts, axis=-1), *splits)
    if shifts is None:
        return TheoryLoss(infinite, bound)
    scale = 1 / np.asarray(widths, float)[:, None, None]
    spread = shifts.std(axis=0, ddof=1) / np.sqrt(len(shifts))
    return TheoryLoss(infinite, bound, widths, infinite + scale * shifts.mean(axis=0), scale * spread)


class _Part(NamedTuple):
    """What is known of the points of a split, arrays of numpy or of JAX: f (time, point, output), y, standard error of
    f; N Cov of the outputs of a point and b of f, both of each group."""

    f: Any
    y: Any
    error: Any | None
    covariances: Any
    biases: Any


_Loss = tuple[Any, Any, Any]
"""Loss (time,), bound on its error (time,) and N (E L_N - L) of each group (group, time); None where unknown."""


def _nowhere(part: _Part) -> _Loss:
    """Losses over no points."""
    times = len(part.f)
    bound = None if part.error is None else np.full(times, np.nan)
    return np.full(times, np.nan), bound, None if part.biases is None else np.full((len(part.biases), times), np.nan)


def _of_split(loss: LossSpec, part: _Part) -> _Loss:
    """The bound is sum |d loss / d f| error over points and outputs."""
    bound = shifts = None
    if part.error is not None:
        slopes = jax.vmap(lambda one: losses.residual(loss, one, part.y))(part.f)
        bound = jnp.sum(jnp.abs(slopes) * part.error, axis=(-2, -1))
    if part.covariances is not None:
        shifts = jax.vmap(partial(losses.shift, loss, part.f, part.y))(part.covariances, part.biases)
    return losses.total(loss, part.f, part.y), bound, shifts
