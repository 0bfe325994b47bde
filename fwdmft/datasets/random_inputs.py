"""Random inputs with targets from a random teacher.

Training inputs, test inputs, teacher and noise have random streams of their own: changing the number of test
points, or the noise, leaves all else as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.teachers import formula, link
from fwdmft.experiment.random_inputs import GaussianData, RandomInputs, RandomPoints, SphereData

_RECORDED = 256
"""Teachers of at most this many weights are written to the result; longer ones follow from the seed."""


def gaussian(spec: GaussianData) -> Dataset:
    """Inputs with independent N(0, 1) features, the training inputs orthogonalised on request."""
    train, test = _gaussian_inputs(spec)
    if not spec.whiten:
        return taught(spec, train, test, "Gaussian inputs")
    words = "training inputs orthogonalised: x x^T / D is the identity on them"
    return taught(spec, _whitened(train), test, "Gaussian inputs, whitened", words)


def sphere(spec: SphereData) -> Dataset:
    """Inputs uniform on the sphere |x|^2 = D."""
    train, test = map(_on_sphere, _gaussian_inputs(spec))
    return taught(spec, train, test, "inputs on a sphere", "every point scaled to |x|^2 = D")


def streams(spec: RandomPoints) -> list[np.random.Generator]:
    """Of training inputs, test inputs, teacher, training noise and test noise."""
    return [np.random.default_rng(seed) for seed in np.random.SeedSequence(spec.seed).spawn(5)]


def _gaussian_inputs(spec: RandomInputs) -> tuple[np.ndarray, np.ndarray]:
    """(train, D) and (test, D)."""
    train, test, *_ = streams(spec)
    return train.standard_normal((spec.train, spec.features)), test.standard_normal((spec.test, spec.features))


def _on_sphere(rows: np.ndarray) -> np.ndarray:
    """Rows (P, D) scaled to squared norm D."""
    return rows * np.sqrt(rows.shape[1]) / np.linalg.norm(rows, axis=1, keepdims=True)


def _whitened(x: np.ndarray) -> np.ndarray:
    """sqrt(D) (x x^T)^(-1/2) x, the closest rows to x (P, D) that are orthogonal with squared norm D."""
    left, _, right = np.linalg.svd(x, full_matrices=False)
    return np.sqrt(x.shape[1]) * left @ right


def taught(
    spec: RandomInputs,
    train: np.ndarray,
    test: np.ndarray,
    inputs: str,
    standardization: str = "none",
    read: Callable[[np.ndarray], np.ndarray] = lambda x: x,
) -> Dataset:
    """The data set of these inputs (point, ...) with the teacher's targets.

    read: from points to the vectors (point, D) that the teacher projects on w, independent N(0, 1) or of norm D.
    """
    _, _, of_teacher, *of_noise = streams(spec)
    weights = _on_sphere(of_teacher.standard_normal((spec.outputs, spec.features)))
    x = np.concatenate([train, test])
    counts = spec.train, spec.test
    noise = [rng.standard_normal((count, spec.outputs)) for rng, count in zip(of_noise, counts, strict=True)]
    y = link(spec.teacher)(read(x) @ weights.T / np.sqrt(spec.features)) + spec.noise * np.concatenate(noise)
    attributes: dict[str, str | int | float] = {
        "source": f"random, seed {spec.seed}",
        "standardization": standardization,
        "teacher": formula(spec.teacher),
        "teacher_weights": json.dumps(weights.tolist()) if weights.size <= _RECORDED else "from the seed",
        "label_noise": spec.noise,
    }
    description = f"{inputs}, {spec.features} features, {spec.teacher.kind} teacher"
    return Dataset(x, y, np.arange(len(x)) < len(train), description, attributes).validate()
