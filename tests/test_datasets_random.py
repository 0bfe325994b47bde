"""Random inputs: their geometry, their teachers against closed forms, and independence of what is not varied."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import message

from fwdmft.datasets import Dataset
from fwdmft.experiment.random_inputs import GaussianData, SphereData
from fwdmft.testing.agreement import ROUNDING

Z = np.array([-1.7, -0.3, 0.0, 0.4, 2.1])
MANY = 40000


def gaussian(**fields: Any) -> Dataset:
    return GaussianData(**fields).load(Path())


def sphere(**fields: Any) -> Dataset:
    return SphereData(**fields).load(Path())


def index(data: Dataset) -> np.ndarray:
    """z = w.x / sqrt(D) (point, output) from the weights on record."""
    weights = np.array(json.loads(str(data.attributes["teacher_weights"])))
    np.testing.assert_allclose((weights**2).sum(axis=1), data.x.shape[1])
    return data.x @ weights.T / np.sqrt(data.x.shape[1])


def test_shapes_and_split() -> None:
    data = gaussian(features=5, train=7, test=3, outputs=2)
    assert (data.x.shape, data.y.shape, data.train.tolist()) == ((10, 5), (10, 2), [True] * 7 + [False] * 3)


def test_gaussian_inputs_have_unit_covariance() -> None:
    """Within 5 standard errors: 1/sqrt(n) for means and covariances, sqrt(2/n) for variances."""
    x = gaussian(features=3, train=MANY, test=0).x
    assert np.abs(x.mean(axis=0)).max() < 5 / np.sqrt(MANY)
    assert np.abs(x.T @ x / MANY - np.eye(3)).max() < 5 * np.sqrt(2 / MANY)


def test_sphere() -> None:
    """Norms are exact; the second moments are those of a uniform direction, the identity."""
    x = sphere(features=3, train=MANY, test=5).x
    np.testing.assert_allclose((x**2).sum(axis=1), 3.0)
    assert np.abs(x.T @ x / len(x) - np.eye(3)).max() < 5 * np.sqrt(2 / MANY)


@pytest.mark.parametrize("train", [4, 9])
def test_whitened_training_inputs(train: int) -> None:
    plain, white = (gaussian(features=9, train=train, test=3, whiten=flag, seed=2) for flag in (False, True))
    x = white.x[:train]
    np.testing.assert_allclose(x @ x.T / 9, np.eye(train), atol=ROUNDING)
    overlaps = x @ plain.x[:train].T
    np.testing.assert_allclose(overlaps, overlaps.T, atol=ROUNDING)  # the closest orthogonal rows, not just any
    assert np.linalg.eigvalsh(overlaps).min() > 0
    np.testing.assert_array_equal(white.x[train:], plain.x[train:])
    np.testing.assert_allclose(white.y, index(white), atol=ROUNDING)
    assert "identity" in str(white.attributes["standardization"])


@pytest.mark.parametrize(
    ("teacher", "values"),
    [
        ({"kind": "linear"}, lambda z: z),
        ({"kind": "single_index", "link": "tanh"}, lambda z: (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)),
        ({"kind": "single_index", "link": "relu"}, lambda z: (z + np.abs(z)) / 2),
        ({"kind": "single_index", "link": "sign"}, lambda z: np.where(z > 0, 1.0, -1.0)),
        ({"kind": "single_index", "link": "hermite", "degree": 2}, lambda z: (z**2 - 1) / np.sqrt(2)),
        ({"kind": "single_index", "link": "hermite", "degree": 3}, lambda z: (z**3 - 3 * z) / np.sqrt(6)),
        ({"kind": "polynomial", "coefficients": [2, 0, 0.5]}, lambda z: 2 + 0.5 * (z**2 - 1) / np.sqrt(2)),
    ],
)
def test_teachers(teacher: dict[str, Any], values: Any) -> None:
    for data in (gaussian(features=6, teacher=teacher, outputs=3), sphere(features=6, teacher=teacher)):
        np.testing.assert_allclose(data.y, values(index(data)), atol=ROUNDING)


def test_erf_teacher() -> None:
    from math import erf

    data = sphere(teacher={"kind": "single_index", "link": "erf"})
    np.testing.assert_allclose(data.y, np.vectorize(erf)(index(data)), atol=ROUNDING)


def test_coefficients_are_projections() -> None:
    """Orthonormality: the mean of y^2 over Gaussian inputs is the sum of squared coefficients, here 1.25."""
    y = gaussian(features=2, train=MANY, test=0, teacher={"kind": "polynomial", "coefficients": [0, 1, 0.5]}).y
    squares = y**2
    assert abs(squares.mean() - 1.25) < 5 * squares.std() / np.sqrt(MANY)


def test_noise_is_on_the_targets_alone() -> None:
    clean, noisy = (gaussian(features=4, train=MANY, test=MANY, noise=noise) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(clean.x, noisy.x)
    noise = (noisy.y - clean.y)[:, 0]
    for part in (noise[:MANY], noise[MANY:]):
        assert abs(part.std() - 0.3) < 5 * 0.3 / np.sqrt(2 * MANY)
    assert abs(noise[:MANY] @ noise[MANY:]) / MANY < 5 * 0.09 / np.sqrt(MANY)
    assert noisy.attributes["label_noise"] == 0.3


@pytest.mark.parametrize("load", [gaussian, sphere])
def test_streams_are_apart(load: Any) -> None:
    """The seed decides all; more test points or outputs leave what was there as it was."""
    one, same, other = (load(seed=seed, noise=0.1) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.x, same.x)
    np.testing.assert_array_equal(one.y, same.y)
    assert not np.isclose(one.x, other.x).any()
    longer = load(seed=3, noise=0.1, test=30)
    np.testing.assert_array_equal(longer.x[:48], one.x)
    np.testing.assert_allclose(longer.y[:48], one.y)
    fewer = load(seed=3, noise=0.1, train=30)
    np.testing.assert_array_equal(fewer.x, one.x[[*range(30), *range(40, 48)]])
    np.testing.assert_allclose(fewer.y, one.y[[*range(30), *range(40, 48)]])
    wider = load(seed=3, outputs=2)
    np.testing.assert_array_equal(wider.x, one.x)
    np.testing.assert_allclose(wider.y[:, :1], load(seed=3).y)


def test_long_teachers_are_left_to_the_seed() -> None:
    assert gaussian(features=257).attributes["teacher_weights"] == "from the seed"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"kind": "gaussian", "whiten": True, "features": 5, "train": 6},
            "data.train: got 6; expected at most 5 points",
        ),
        ({"kind": "sphere", "whiten": True}, "data.whiten: got True; expected one of the fields"),
        ({"kind": "sphere", "noise": -1}, "data.noise: got -1; expected a number of at least 0"),
        ({"kind": "sphere", "teacher": {"kind": "cubic"}}, "data.teacher.kind: got 'cubic'; expected one of 'linear'"),
        ({"kind": "sphere", "teacher": {"kind": "single_index"}}, "data.teacher.link: got nothing; expected"),
        (
            {"kind": "sphere", "teacher": {"kind": "single_index", "link": "hermite"}},
            "data.teacher.degree: got None; expected a degree for the link hermite",
        ),
        (
            {"kind": "sphere", "teacher": {"kind": "single_index", "link": "tanh", "degree": 2}},
            "data.teacher.degree: got 2; expected no degree for the link tanh",
        ),
        (
            {"kind": "gaussian", "teacher": {"kind": "polynomial", "coefficients": []}},
            "data.teacher.coefficients: got []; expected a list of at least 1 entries",
        ),
    ],
)
def test_refusals(fields: dict[str, Any], expected: str) -> None:
    assert message(data=fields).startswith(expected)
