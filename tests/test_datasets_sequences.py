"""Sequences and tasks in context: what the targets are of, and independence of what is not varied."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import message

from fwdmft.datasets import Dataset
from fwdmft.experiment.random_inputs import InContextRegressionData, SequencesData
from fwdmft.testing.agreement import ROUNDING

MANY = 20000


def sequences(**fields: Any) -> Dataset:
    return SequencesData(**fields).load(Path())


def tasks(**fields: Any) -> Dataset:
    return InContextRegressionData(**fields).load(Path())


def _w(data: Dataset) -> np.ndarray:
    return np.array(json.loads(str(data.attributes["teacher_weights"])))


@pytest.mark.parametrize("delay", [0, 2, 4])
def test_recall_asks_for_one_past_input(delay: int) -> None:
    data = sequences(task="recall", delay=delay, length=5, features=3, outputs=2, train=7, test=2)
    assert data.x.shape == (9, 5, 3) and data.n_train == 7
    np.testing.assert_allclose(data.y, data.x[:, 4 - delay] @ _w(data).T / np.sqrt(3), atol=ROUNDING)


def test_integration_asks_for_all_inputs_through_the_teacher() -> None:
    teacher = {"kind": "single_index", "link": "tanh"}
    data = sequences(task="integration", length=3, features=2, train=MANY, test=0, teacher=teacher)
    z = np.einsum("ptd,d->p", data.x, _w(data)[0]) / np.sqrt(2 * 3)
    np.testing.assert_allclose(data.y[:, 0], np.tanh(z), atol=ROUNDING)
    assert abs(np.mean(z**2) - 1) < 5 * np.sqrt(2 / MANY)


def test_context_tells_the_task() -> None:
    """As many examples without noise as features determine w, and so the target of the query."""
    data = tasks(features=3, context=3, train=5, test=2)
    assert (data.x.shape, data.y.shape) == ((7, 4, 4), (7, 1))
    w = np.linalg.solve(data.x[:, :3, :3], data.x[:, :3, 3:])
    np.testing.assert_allclose(np.einsum("pd,pdo->po", data.x[:, 3, :3], w), data.y, rtol=1e-6)
    assert not data.x[:, 3, 3].any()


def test_noise_is_on_the_examples_alone() -> None:
    clean, noisy = (tasks(features=2, context=1, train=MANY, test=0, noise=noise) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(clean.y, noisy.y)
    difference = noisy.x - clean.x
    assert not difference[..., :2].any() and not difference[:, -1].any()
    assert abs(difference[:, 0, 2].std() - 0.3) < 5 * 0.3 / np.sqrt(2 * MANY)
    assert abs(np.mean(clean.y**2) - 1) < 5 * np.std(clean.y**2) / np.sqrt(MANY)


@pytest.mark.parametrize("load", [tasks, lambda **fields: sequences(task="recall", delay=1, **fields)])
def test_streams_are_apart(load: Any) -> None:
    """The seed decides all; more points leave what was there as it was."""
    one, same, other = (load(seed=seed, noise=0.1) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.x, same.x)
    np.testing.assert_array_equal(one.y, same.y)
    assert not np.isclose(one.y, other.y).any()
    more = load(seed=3, noise=0.1, test=20)
    np.testing.assert_array_equal(more.x[:48], one.x)
    np.testing.assert_allclose(more.y[:48], one.y, atol=ROUNDING)
    fewer = load(seed=3, noise=0.1, train=30)
    np.testing.assert_array_equal(fewer.x, one.x[[*range(30), *range(40, 48)]])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "sequences"}, "data.task: got nothing; expected"),
        ({"kind": "sequences", "task": "recall"}, "data.delay: got None; expected a delay from 0 to 3 (length - 1)"),
        ({"kind": "sequences", "task": "recall", "delay": 4}, "data.delay: got 4; expected a delay from 0 to 3"),
        ({"kind": "sequences", "task": "integration", "delay": 1}, "data.delay: got 1; expected no delay for"),
        (
            {"kind": "sequences", "task": "integration", "length": 10**6, "features": 100},
            "data.features: got 100; expected at most 1073741824 numbers",
        ),
        ({"kind": "in_context_regression", "context": 0}, "data.context: got 0; expected a number of at least 1"),
        ({"kind": "in_context_regression", "teacher": {}}, "data.teacher: got {}; expected one of the fields"),
    ],
)
def test_refusals(fields: dict[str, Any], expected: str) -> None:
    assert message(data=fields).startswith(expected)
