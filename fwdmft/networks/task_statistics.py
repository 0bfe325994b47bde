"""How well one network does a task, and how well the average of an ensemble does, with errors over members.

From sums over groups of members (see `fwdmft.jackknife`):

    loss, accuracy                        mean over members, (time, split)
    ensembled_loss, ensembled_accuracy    of the averaged prediction, (time, split)
    prediction_relative_variance          Var f / (E f)^2, both averaged over points and outputs, (time, split)
    mean_kernel_alignment                 alignment with the targets of the last layer's mean feature kernel, (time,)

Where only the last predictions are kept, the second and third lines are NaN at earlier times.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fwdmft import losses
from fwdmft.alignment import alignment
from fwdmft.classes import accuracy, are_classes
from fwdmft.experiment.loss import LossSpec
from fwdmft.jackknife import Jackknifed, combined, of_means
from fwdmft.networks.statistics import GroupSums
from fwdmft.networks.training import Task

_METRICS = ("loss", "accuracy", "mean_square", "prediction", "final_prediction")


Measure = Callable[
    [Float[np.ndarray, "*time point output"], Float[np.ndarray, "point output"]], Float[np.ndarray, "*time"]
]
"""How good predictions of targets are."""


def grouped(
    task: Task, seen: Mapping[str, Float[np.ndarray, "member ..."]]
) -> dict[str, Float[np.ndarray, "member ..."]]:
    """Of the observables of some members, (member, time, ...), those that are to be summed by groups."""
    summed = {name: seen[name] for name in _METRICS if name in seen}
    if "feature_kernel" in seen and np.any(task.train):
        chosen = np.flatnonzero(task.train[task.kernel_at])
        summed["last_feature_kernel"] = seen["feature_kernel"][:, :, -1][..., chosen, :][..., chosen]
    return summed


@runtime_checkable
class Observed(Protocol):
    """What statistics need to know of a task (`fwdmft.networks.training.Task`): loss, targets (point, output), mask of
    training points, saved times, and the points that kernels are measured on, as a number and by their positions."""

    @property
    def loss(self) -> LossSpec: ...
    @property
    def y(self) -> Float[np.ndarray, "point output"]: ...
    @property
    def train(self) -> Bool[np.ndarray, " point"]: ...
    @property
    def times(self) -> Int[np.ndarray, " time"]: ...
    @property
    def kernel_points(self) -> int | None: ...
    @property
    def kernel_at(self) -> Int[np.ndarray, " kernel_point"]: ...


def task_statistics(task: Observed, groups: Mapping[str, GroupSums]) -> dict[str, Jackknifed]:
    """The statistics above, as far as there are sums to compute them from, in float64."""
    with jax.enable_x64(True):
        return _task_statistics(task, groups)


def _task_statistics(task: Observed, groups: Mapping[str, GroupSums]) -> dict[str, Jackknifed]:
    statistics = {name: _of(groups[name]) for name in ("loss", "accuracy") if name in groups}
    final_only = "final_prediction" in groups
    predictions = groups["final_prediction" if final_only else "prediction"]

    def ensembled(measure: Measure) -> Jackknifed:
        """A measure (..., split) of the averaged predictor, at the times at which it is known."""

        def at_times(f: Float[np.ndarray, "*time point output"]) -> Float[np.ndarray, "... split"]:
            values = np.stack([_measured(measure, f, task.y, chosen) for chosen in (task.train, ~task.train)], axis=-1)
            return _only_last(values, len(task.times)) if final_only else values

        return _of(predictions, at_times)

    statistics["ensembled_loss"] = ensembled(
        lambda f, y: np.asarray(losses.total(task.loss, jnp.asarray(f), jnp.asarray(y)))
    )
    if are_classes(task.y):
        statistics["ensembled_accuracy"] = ensembled(accuracy)
    square = ensembled(lambda f, y: np.mean(f**2, axis=(-2, -1)))
    statistics["prediction_relative_variance"] = _relative_variance(_of(groups["mean_square"]), square, groups["loss"])
    if "last_feature_kernel" in groups:
        y = task.y[task.kernel_at][task.train[task.kernel_at]]
        statistics["mean_kernel_alignment"] = _of(groups["last_feature_kernel"], lambda kernel: alignment(kernel, y))
    return statistics


def _of(
    group: GroupSums, statistic: Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]] = np.asarray
) -> Jackknifed:
    assert group.sums is not None
    return of_means(group.sums, group.counts, statistic)


def _measured(
    measure: Measure,
    f: Float[np.ndarray, "*time point output"],
    y: Float[np.ndarray, "point output"],
    chosen: Bool[np.ndarray, " point"],
) -> Float[np.ndarray, "*time"]:
    return np.asarray(measure(f[..., chosen, :], y[chosen])) if chosen.any() else np.full(f.shape[:-2], np.nan)


def _only_last(values: Float[np.ndarray, " split"], times: int) -> Float[np.ndarray, "time split"]:
    """(split,) at the last of so many times, NaN before."""
    at_times = np.full((times, *values.shape), np.nan)
    at_times[-1] = values
    return at_times


def _relative_variance(mean_square: Jackknifed, square_of_mean: Jackknifed, counted: GroupSums) -> Jackknifed:
    """Var f / (E f)^2 from E f^2 and the square of the mean of n members, which is too large by Var f / n."""
    counts = counted.counts[counted.counts > 0]

    def ratio(
        above: Float[np.ndarray, "*axis"], below: Float[np.ndarray, "*axis"], n: Int[np.ndarray, ""] | np.integer
    ) -> Float[np.ndarray, "*axis"]:
        variance = np.maximum(above - below, 0.0) * n / np.maximum(n - 1, 1)
        signal = below - variance / n
        return np.divide(variance, signal, out=np.full_like(variance, np.nan), where=signal > 0)

    return combined(ratio, mean_square, square_of_mean, Jackknifed(np.asarray(counts.sum()), counts.sum() - counts))
