r"""Variance over initialisations of the kernels of one sqrt(2) ReLU layer, against the angle theta between inputs.

A neuron with preactivations u, v ~ N(0, 1) of correlation cos(theta) and readout w contributes
k = 2 u v s + 2 w^2 s cos(theta) to K = Phi + G cos(theta), with s = 1 where u, v > 0. Neurons are independent, so
N Var K = <k^2> - <k>^2 (delta method, exact here), with arc-cosine integrals J_n = <(u v)^n s>:

    <k> = 2 J_1 + 2 J_0 cos        <k^2> = 4 J_2 + 8 J_1 cos + 12 J_0 cos^2

as <w^2> = 1 and <w^4> = 3. Source of J_n: Cho & Saul 2009 (NeurIPS 22).
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def integrals(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J_0, J_1, J_2."""
    cos, sin, rest = np.cos(theta), np.sin(theta), np.pi - theta
    return (
        rest / (2 * np.pi),
        (sin + rest * cos) / (2 * np.pi),
        (3 * sin * cos + rest * (1 + 2 * cos**2)) / (2 * np.pi),
    )


def closed_form(theta: np.ndarray) -> dict[str, np.ndarray]:
    """N Var of Phi ("feature") and of K ("tangent")."""
    j0, j1, j2 = integrals(theta)
    cos = np.cos(theta)
    return {
        "feature": 4 * j2 - (2 * j1) ** 2,
        "tangent": 4 * j2 + 8 * j1 * cos + 12 * j0 * cos**2 - (2 * j1 + 2 * j0 * cos) ** 2,
    }


def without_cosines(theta: np.ndarray) -> np.ndarray:
    """N Var K if the factors of cos(theta) of the second term of k are left out."""
    j0, j1, j2 = integrals(theta)
    return 4 * j2 + 8 * j1 + 12 * j0 - (2 * j1 + 2 * j0) ** 2


def measure(width: int, members: int, angles: int = 10, seed: int = 0) -> xr.Dataset:
    """variance (N Var over networks) and its standard error, of (kernel, angle)."""
    random = np.random.default_rng(seed)
    theta = np.linspace(0, 0.9 * np.pi, angles)
    computed = np.array([_variances(random, one, width, members) for one in theta])
    names = {"kernel": ["feature", "tangent"], "angle": theta}
    variables = {
        name: (("kernel", "angle"), computed[..., place].T) for place, name in enumerate(("variance", "error"))
    }
    return xr.Dataset(variables, coords=names).assign(width=width, members=members)


def _variances(random: np.random.Generator, theta: float, width: int, members: int) -> list[tuple[float, float]]:
    """Of Phi and K: N Var over networks, and its standard error from the fourth moment."""
    u, other, w = random.standard_normal((3, members, width))
    v = np.cos(theta) * u + np.sin(theta) * other
    both = 2.0 * ((u > 0) & (v > 0))
    features = (both * u * v).mean(1)
    return [_variance(width, kernel) for kernel in (features, features + np.cos(theta) * (both * w**2).mean(1))]


def _variance(width: int, values: np.ndarray) -> tuple[float, float]:
    apart = (values - values.mean()) ** 2
    return width * apart.mean(), width * apart.std() / np.sqrt(len(values))
