"""The handwritten digits bundled with scikit-learn (8x8 images, from the UCI repository)."""

from __future__ import annotations

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.errors import InputError
from fwdmft.spec.data import DigitsData


def digits(spec: DigitsData) -> Dataset:
    """Choose images at random, evenly over the classes; points come training set first, grouped by class."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = _choose(spec, labels)
    x = images[chosen].astype(np.float64)
    train = np.arange(len(chosen)) < spec.train
    if spec.standardize:
        x = _standardized(x, train)
    names = ", ".join(map(str, spec.classes))
    attributes: dict[str, str | int | float] = {"source": "scikit-learn load_digits", "classes": names}
    y = _targets(spec, labels[chosen])
    return Dataset(x, y, train, f"handwritten digits {names} (8x8 pixels)", attributes).validate()


def _choose(spec: DigitsData, labels: np.ndarray) -> np.ndarray:
    """Row numbers: the training points class by class, then the test points class by class, none twice."""
    rng = np.random.default_rng(spec.seed)
    pools = [rng.permutation(np.flatnonzero(labels == digit)) for digit in spec.classes]
    train, test = (_spread(number, len(pools)) for number in (spec.train, spec.test))
    for digit, pool, wanted in zip(spec.classes, pools, train + test, strict=True):
        if wanted > len(pool):
            expected = f"at most {len(pool)} training and test points of digit {digit} ({wanted} asked for)"
            raise InputError("data.train", spec.train, expected)
    first = [pool[:n] for pool, n in zip(pools, train, strict=True)]
    second = [pool[n : n + m] for pool, n, m in zip(pools, train, test, strict=True)]
    return np.concatenate(first + second)


def _spread(number: int, classes: int) -> np.ndarray:
    """(classes,) whole numbers that differ by at most one and sum to `number`."""
    return number // classes + (np.arange(classes) < number % classes)


def _standardized(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Rows minus the mean training row, each scaled to |x|^2 = D."""
    centred = x - x[train].mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    if np.any(norms == 0):
        point = int(np.argmin(norms))
        raise InputError("data.standardize", True, f"no image equal to the training mean (point {point} is)")
    return centred * np.sqrt(x.shape[1]) / norms


def _targets(spec: DigitsData, labels: np.ndarray) -> np.ndarray:
    """(P, C) targets as `spec.targets` says."""
    one_hot = (labels[:, None] == np.array(spec.classes)).astype(np.float64)
    targets = spec.targets
    if targets == "auto":
        targets = "sign" if len(spec.classes) == 2 else "centered"
    if targets == "sign":
        return one_hot[:, 1:] - one_hot[:, :1]
    return one_hot - 1 / len(spec.classes) if targets == "centered" else one_hot
