"""Removing the mean and scaling points to a common norm, on record so that it can be undone or repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fwdmft.errors import InputError

PROCEDURE = "x = (original - x_mean) / x_scale: mean training point removed, then every point scaled to |x|^2 = D"


@dataclass(frozen=True)
class Standardization:
    """What was done to points: x = (original - mean) / scale.

    mean: shaped like one point, in units of the original.  scale: (P,), likewise.  procedure: in words.
    """

    mean: np.ndarray
    scale: np.ndarray
    procedure: str = PROCEDURE


def standardized(x: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, Standardization]:
    """Points (P, ...) minus the mean of those where `train` (P,) is true, each scaled to |x|^2 = D, D its size.

    Raises InputError when a point equals that mean.
    """
    rows = x.reshape(len(x), -1)
    mean = rows[train].mean(axis=0)
    centred = rows - mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    if np.any(norms == 0):
        point = int(np.argmin(norms))
        raise InputError("data.standardize", True, f"no image equal to the training mean (point {point} is)")
    root = np.sqrt(rows.shape[1])
    done = Standardization(mean.reshape(x.shape[1:]), norms[:, 0] / root)
    return (centred * root / norms).reshape(x.shape), done
