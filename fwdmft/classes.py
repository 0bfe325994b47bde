"""Accuracy, for targets that stand for classes.

One output with targets +1 and -1: the class is the sign. Several outputs: the class is the largest, and every row of
the targets must have one entry a and all others b < a, the same a and b everywhere (one-hot, centred or not). Other
targets have no accuracy. A point whose largest outputs are equal counts by the chance of guessing among them, so
f = 0, where centred networks start, has accuracy 1 / C.
"""

from typing import Any

import numpy as np


def are_classes(y: np.ndarray) -> bool:
    """Whether the targets (point, output) stand for two or more classes that all occur in them."""
    if y.shape[1] == 1:
        return set(np.unique(y)) == {-1.0, 1.0}
    high, low = y.max(), y.min()
    one_hot = bool(np.all((y == high) | (y == low)) and np.all((y == high).sum(axis=1) == 1))
    return one_hot and len(np.unique(y.argmax(axis=1))) > 1


def accuracy(f: Any, y: Any) -> Any:
    """Share of the points (..., point, output) whose class is found, (...); arrays of numpy or JAX."""
    if y.shape[1] == 1:
        agree = f * y
        return ((agree > 0) + 0.5 * (agree == 0))[..., 0].mean(axis=-1)
    largest = f == f.max(axis=-1, keepdims=True)
    hits = (largest * (y == y.max(axis=-1, keepdims=True))).sum(axis=-1) / largest.sum(axis=-1)
    return hits.mean(axis=-1)
