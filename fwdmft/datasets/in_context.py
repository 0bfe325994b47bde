"""Linear regression in context: every point is a task of its own, told by examples, and a query."""

from __future__ import annotations

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.random_inputs import streams
from fwdmft.experiment.random_inputs import InContextRegressionData


def in_context_regression(spec: InContextRegressionData) -> Dataset:
    """Tokens x (point, token, feature): context examples (x_i, y_i), then the query (x, 0); y (point, 1) is w.x."""
    of_train, of_test, _, *of_noise = streams(spec)
    halves = zip((of_train, of_test), of_noise, (spec.train, spec.test), strict=True)
    tokens, targets = zip(*(_tasks(spec, *half) for half in halves), strict=True)
    attributes: dict[str, str | int | float] = {
        "source": f"random, seed {spec.seed}",
        "standardization": "none",
        "task": "y_i = w.x_i + noise, w ~ N(0, 1/D) for each point; target w.x of the last token's x",
        "label_noise": spec.noise,
    }
    description = f"linear regression in context, {spec.context} examples of {spec.features} features"
    x, y = np.concatenate(tokens), np.concatenate(targets)
    return Dataset(x, y, np.arange(len(x)) < spec.train, description, attributes).validate()


def _tasks(
    spec: InContextRegressionData, rng: np.random.Generator, of_noise: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (count, context + 1, D + 1) and targets (count, 1). More points begin with the same ones."""
    numbers = rng.standard_normal((count, spec.context + 2, spec.features))
    w, x = numbers[:, 0] / np.sqrt(spec.features), numbers[:, 1:]
    y = np.einsum("pd,pid->pi", w, x)
    shown = y + spec.noise * of_noise.standard_normal(y.shape)
    shown[:, -1] = 0.0
    return np.concatenate([x, shown[..., None]], axis=-1), y[:, -1:]
