"""Training schedules: what happens at each step, as plain data shared by theory and networks.

One step of a parameter theta, with the scaled gradient G = gamma0^2 N d loss / d theta (see `fwdmft.engine`):

    v <- momentum v - (G + weight_decay theta)          theta <- theta + learning_rate v

This is heavy-ball momentum as in `torch.optim.SGD` (the learning rate multiplies the velocity, there is no dampening),
and weight decay is the L2 kind, in units of the scaled gradient: without momentum a step multiplies every weight by
1 - learning_rate weight_decay.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class RichardsonLevel:
    """One member of a step-halving ladder: `substeps` per step, entering the extrapolation with `coefficient`."""

    substeps: int
    coefficient: float


class Stream(NamedTuple):
    """Training points that are not observed: x (point, feature), y (point, output), in the order in which they come."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Plan:
    """Everything an optimizer decides before training starts.

    learning_rates: (steps,) eta at each step.
    batches: (steps, batch size) positions in the list of training points, or None for all of them at every step.
    tolerance: None for discrete gradient descent; a number asks for its small-step limit to that relative accuracy.
    ladder: results are the combination sum_j coefficient_j q(substeps_j); one level of one substep is plain descent.
    stream: the training points where they are not among the observed ones (online learning), else None.
    """

    learning_rates: np.ndarray
    batches: np.ndarray | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    tolerance: float | None = None
    ladder: tuple[RichardsonLevel, ...] = (RichardsonLevel(1, 1.0),)
    stream: Stream | None = None

    @property
    def steps(self) -> int:
        return len(self.learning_rates)

    @property
    def fresh(self) -> int:
        """Points of the stream that a step trains on; 0 without a stream."""
        if self.stream is None:
            return 0
        return len(self.stream.x) if self.batches is None else self.batches.shape[1]

    def saved(self, save_every: int) -> np.ndarray:
        """The steps before which quantities are kept: 0, n, 2n, ... and always the last."""
        return np.union1d(np.arange(0, self.steps, save_every), [self.steps - 1]).astype(int)

    def intervals(self, save_every: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Learning rates (saved, save_every) and batches (saved, save_every, batch size) after each saved step.

        The last step's update is never seen. Its place, and the rest of a shorter last interval, is taken by zeros:
        a learning rate of zero leaves everything that is observed alone, so one program serves every interval. None is
        longer than the plan: at most half of all steps are such zeros.
        """
        save_every = min(save_every, max(1, self.steps - 1))
        saved = -(-(self.steps - 1) // save_every) + 1

        def grouped(entries: np.ndarray) -> np.ndarray:
            padding = np.zeros((saved * save_every - (self.steps - 1), *entries.shape[1:]), entries.dtype)
            return np.concatenate([entries[:-1], padding]).reshape(saved, save_every, *entries.shape[1:])

        return grouped(self.learning_rates), None if self.batches is None else grouped(self.batches)

    def on_ladder(self, ladder: tuple[RichardsonLevel, ...]) -> "Plan":
        return replace(self, ladder=ladder)

    def on_stream(self, stream: Stream) -> "Plan":
        return replace(self, stream=stream)


LONGEST, LEVELS = 9, 5
"""Ladders go to 2^(LONGEST - 1) substeps, with at most so many levels."""


def ladders() -> Iterator[tuple[RichardsonLevel, ...]]:
    """Ever finer step-halving ladders 1; 1, 2; 1, 2, 4; ..."""
    for count in range(1, LONGEST + 1):
        substeps = [2**j for j in range(max(0, count - LEVELS), count)]
        yield tuple(RichardsonLevel(m, c) for m, c in zip(substeps, _extrapolation(substeps), strict=True))


def _extrapolation(substeps: list[int]) -> list[float]:
    """Weights of the polynomial through the points h = 1/m, evaluated at h = 0 (Richardson, Neville)."""
    h = 1.0 / np.array(substeps)
    return [float(np.prod([h[i] / (h[i] - h[j]) for i in range(len(h)) if i != j])) for j in range(len(h))]
