"""The loss that the theory expects, at infinite width and of networks of width N to order 1/N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft import losses
from fwdmft.experiment.loss import LossSpec
from fwdmft.networks.training import split_losses

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
    f = jnp.asarray(theory.mean["prediction"])
    infinite = np.asarray(split_losses(loss, f, dataset.y, dataset.train))
    bound = _error_bound(loss, dataset, f, theory.standard_error.get("prediction"))
    covariances, biases = theory.equal_time_covariances, theory.prediction_biases
    if covariances is None or biases is None or not theory.variance or not theory.bias:
        return TheoryLoss(infinite, bound)
    shifts = np.stack([_shift(loss, dataset, f, *each) for each in zip(covariances, biases, strict=True)])
    scale = 1 / np.asarray(widths, float)[:, None, None]
    error = shifts.std(axis=0, ddof=1) / np.sqrt(len(shifts))
    return TheoryLoss(infinite, bound, widths, infinite + scale * shifts.mean(axis=0), scale * error)


def _error_bound(loss: LossSpec, dataset: Dataset, f: jax.Array, error: np.ndarray | None) -> np.ndarray | None:
    """sum |d loss / d f| error over points and outputs, (time, split); error: (time, point, output) or unknown."""
    if error is None:
        return None

    def of_points(f: jax.Array, y: np.ndarray, error: np.ndarray) -> jax.Array:
        slopes = jax.vmap(lambda one: losses.residual(loss, one, jnp.asarray(y)))(f)
        return jnp.sum(jnp.abs(slopes) * jnp.asarray(error), axis=(-2, -1))

    splits = [np.flatnonzero(chosen) for chosen in (dataset.train, ~dataset.train)]
    parts = [
        of_points(f[:, at], dataset.y[at], error[:, at]) if len(at) else jnp.full(len(f), jnp.nan) for at in splits
    ]
    return np.asarray(jnp.stack(parts, axis=-1))


def _shift(loss: LossSpec, dataset: Dataset, f: jax.Array, covariance: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """N (E L_N - L), (time, split)."""
    splits = []
    for chosen in (dataset.train, ~dataset.train):
        points = np.flatnonzero(chosen)
        if len(points) == 0:
            splits.append(np.full(len(f), np.nan))
            continue
        parts = f[:, points], dataset.y[points], covariance[:, points], bias[:, points]
        splits.append(np.asarray(losses.shift(loss, *map(jnp.asarray, parts))))
    return np.stack(splits, axis=-1)
