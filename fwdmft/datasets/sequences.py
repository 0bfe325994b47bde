"""Sequences of noise, of which the target is a function of one past input or of their sum."""

from __future__ import annotations

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.random_inputs import streams, taught
from fwdmft.experiment.random_inputs import SequencesData


def sequences(spec: SequencesData) -> Dataset:
    """Sequences x (point, step, feature) of independent N(0, 1) numbers."""
    of_train, of_test, *_ = streams(spec)
    train, test = (
        rng.standard_normal((count, spec.length, spec.features))
        for rng, count in ((of_train, spec.train), (of_test, spec.test))
    )
    words = f"sequences of {spec.length} steps, {_task(spec)}"
    return taught(spec, train, test, words, read=lambda x: _read(spec, x))


def _read(spec: SequencesData, x: np.ndarray) -> np.ndarray:
    """(point, feature): what the teacher sees of a sequence, of variance one."""
    if spec.delay is None:
        return x.sum(axis=1) / np.sqrt(spec.length)
    return x[:, -1 - spec.delay]


def _task(spec: SequencesData) -> str:
    return "integration" if spec.delay is None else f"recall of the input {spec.delay} steps before the last"
