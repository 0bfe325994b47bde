"""Functions y = sigma(z) of an index z ~ N(0, 1), the teachers of random inputs."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from fwdmft.experiment.teachers import LinearTeacher, PolynomialTeacher, SingleIndexTeacher

Link = Callable[[np.ndarray], np.ndarray]


def link(teacher: LinearTeacher | SingleIndexTeacher | PolynomialTeacher) -> Link:
    """The elementwise function sigma of a teacher."""
    match teacher:
        case PolynomialTeacher():
            return lambda z: hermite_series(z, teacher.coefficients)
        case SingleIndexTeacher(degree=int(degree)):
            return lambda z: hermite_series(z, (*[0.0] * degree, 1.0))
        case SingleIndexTeacher():
            return _LINKS[teacher.link]
    return lambda z: z


def formula(teacher: LinearTeacher | SingleIndexTeacher | PolynomialTeacher) -> str:
    """A teacher in words, for the result file."""
    index = "z = w.x / sqrt(D), |w|^2 = D"
    match teacher:
        case PolynomialTeacher():
            return f"y = sum_k c_k He_k(z) / sqrt(k!), c = {list(teacher.coefficients)}, {index}"
        case SingleIndexTeacher(degree=int(degree)):
            return f"y = He_{degree}(z) / sqrt({degree}!), {index}"
        case SingleIndexTeacher():
            return f"y = {teacher.link}(z), {index}"
    return f"y = z, {index}"


def hermite_series(z: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """sum_k c_k he_k(z), he_k = He_k / sqrt(k!) orthonormal under N(0, 1).

    sqrt(k + 1) he_(k+1) = z he_k - sqrt(k) he_(k-1) has no factorial that would overflow.
    """
    total, before, here = np.zeros_like(z), np.zeros_like(z), np.ones_like(z)
    for k, coefficient in enumerate(coefficients):
        total = total + coefficient * here
        before, here = here, (z * here - sqrt(k) * before) / sqrt(k + 1)
    return total


def _erf(z: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(z)


_LINKS: dict[str, Link] = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "erf": _erf,
    "sign": np.sign,
}
