"""From labelled images to a data set: choice of points per class, standardisation, targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.standardize import standardized
from fwdmft.errors import InputError
from fwdmft.experiment.images import LabelledImages

Attributes = dict[str, str | int | float]


@dataclass(frozen=True)
class Pool:
    """Images to choose from.

    images: (n, height, width, channel), of any type of number.  labels: (n,) numbers of their classes.
    name: what one image is and is of, followed by its class in messages ("images of digit").
    """

    images: np.ndarray
    labels: np.ndarray
    name: str


def labelled_images(
    spec: LabelledImages,
    train: Pool,
    test: Pool | None,
    description: str,
    attributes: Attributes,
    largest: float | None = None,
) -> Dataset:
    """Choose images at random, evenly over the classes; points come training set first, grouped by class.

    test: where test points are from; None for what training leaves of `train`.  largest: pixel value that
    becomes 1 (None: pixels stay as they are).  Raises InputError when a class has too few images.
    """
    rng = np.random.default_rng(spec.seed)
    pools = _shuffled(rng, train, spec)
    first, left = _taken(pools, spec.train, "data.train", train.name, spec)
    others = train if test is None else test
    pools = left if test is None else _shuffled(rng, test, spec)
    second, _ = _taken(pools, spec.test, "data.test", others.name, spec)
    x = np.concatenate([train.images[first], others.images[second]]).astype(np.float64)
    x = x if largest is None else x / largest
    labels = np.concatenate([train.labels[first], others.labels[second]])
    is_train = np.arange(len(x)) < len(first)
    facts = {**attributes, "classes": ", ".join(spec.class_names.values()), "targets": _resolved(spec)}
    x, done = standardized(x, is_train) if spec.standardize else (x, None)
    return Dataset(x, _targets(spec, labels), is_train, description, facts, done).validate()


def _shuffled(rng: np.random.Generator, pool: Pool, spec: LabelledImages) -> list[np.ndarray]:
    """Row numbers of each class in random order."""
    return [rng.permutation(np.flatnonzero(pool.labels == number)) for number in spec.class_names]


def _taken(
    pools: list[np.ndarray], number: int | None, field: str, name: str, spec: LabelledImages
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Row numbers of `number` points (None: all) class by class, and the rows left in each class."""
    counts = [len(pool) for pool in pools] if number is None else _spread(number, len(pools))
    for title, pool, wanted in zip(spec.class_names.values(), pools, counts, strict=True):
        if wanted > len(pool):
            raise InputError(field, number, f"at most {len(pool)} {name} {title} ({wanted} asked for)")
    chosen = [pool[:count] for pool, count in zip(pools, counts, strict=True)]
    return np.concatenate(chosen), [pool[count:] for pool, count in zip(pools, counts, strict=True)]


def _spread(number: int, classes: int) -> list[int]:
    """Whole numbers, one per class, that differ by at most one and sum to `number`."""
    return [number // classes + (one < number % classes) for one in range(classes)]


def _resolved(spec: LabelledImages) -> str:
    """The kind of targets that is meant."""
    if spec.targets != "auto":
        return spec.targets
    return "sign" if len(spec.class_names) == 2 else "centered"


def _targets(spec: LabelledImages, labels: np.ndarray) -> np.ndarray:
    """(P, C) or (P, 1) targets as `spec.targets` says."""
    targets = _resolved(spec)
    if targets == "labels":
        return labels[:, None].astype(np.float64)
    one_hot = (labels[:, None] == np.array(list(spec.class_names))).astype(np.float64)
    if targets == "sign":
        return one_hot[:, 1:] - one_hot[:, :1]
    return one_hot - 1 / len(spec.class_names) if targets == "centered" else one_hot
