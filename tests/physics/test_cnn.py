"""Convolutional networks: recursions for their kernels at t = 0, symmetries, and limits that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from fwdmft.testing.agreement import assert_zero, extrapolated
from tests.physics.comparison import OBSERVABLES, assert_networks_agree, known, of_networks, of_theory
from tests.physics.conftest import Runner

SETTINGS: dict[str, Any] = {
    "parameterization": {"kind": "mean_field", "gamma0": 1.5},
    "optimizer": {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 5},
}


def images(path: Path, x: np.ndarray, outputs: int = 1) -> dict[str, Any]:
    """The last image is not trained on."""
    np.savez(path, x=x, y=np.sign(np.random.default_rng(1).standard_normal((len(x), outputs))), train=len(x) - 1)
    return {"kind": "file", "path": str(path)}


def random_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, height, width, channels))


def theory(tree: xr.DataTree) -> xr.Dataset:
    return tree["theory"].to_dataset()


def recursion(x: np.ndarray, depth: int) -> dict[str, np.ndarray]:
    """Phi^l, G^l and K of sqrt(2) ReLU with 3x3 kernels, zero padding and weights for each position, pixel by pixel.

    Arc-cosine kernels between all pairs of positions; convolutions shift both positions together (Novak et al. 2019,
    Arora et al. 2019).
    """
    count, height, width, channels = x.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    number = {place: k for k, place in enumerate(places)}
    shifts = [(di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]

    def shifted(place: tuple[int, int], shift: tuple[int, int]) -> int | None:
        return number.get((place[0] + shift[0], place[1] + shift[1]))

    def convolved(kernel: np.ndarray, sign: int) -> np.ndarray:
        """Mean over offsets, at positions a + k and b + k (or a - k, b - k)."""
        result = np.zeros_like(kernel)
        for a, place in enumerate(places):
            for b, other in enumerate(places):
                for di, dj in shifts:
                    s, t = (shifted(p, (sign * di, sign * dj)) for p in (place, other))
                    if s is not None and t is not None:
                        result[:, a, :, b] += kernel[:, s, :, t] / 9
        return result

    pixels = x.reshape(count, -1, channels)
    features = [np.einsum("mac,nbc->manb", pixels, pixels) / channels]
    slopes = []
    for _ in range(depth):
        h = convolved(features[-1], 1)
        scale = np.sqrt(np.einsum("mama,nbnb->manb", h, h))
        cosine = np.clip(h / scale, -1, 1)
        angle = np.arccos(cosine)
        features.append(scale / np.pi * (np.sin(angle) + (np.pi - angle) * cosine))
        slopes.append((np.pi - angle) / np.pi)
    arriving = np.broadcast_to(np.eye(len(places))[:, None], (count, len(places), count, len(places))) / len(places)
    gradients, kernel = [], np.einsum("mana->mn", features[-1]) / len(places)
    for layer in reversed(range(depth)):
        gradients.insert(0, slopes[layer] * arriving)
        kernel = kernel + np.einsum("manb,manb->mn", gradients[0], convolved(features[layer], 1))
        arriving = convolved(gradients[0], -1)
    return {
        "feature_kernel": np.stack([np.einsum("mana->mn", phi) / len(places) for phi in features[1:]]),
        "gradient_kernel": np.stack([np.einsum("mana->mn", g) for g in gradients]),
        "tangent_kernel": kernel,
    }


@pytest.mark.optimized
def test_initial_kernels_obey_the_convolutional_recursions(run: Runner, tmp_path: Path) -> None:
    """Two layers, two images of 3x2 pixels with two channels: theory and networks against the recursion."""
    x, widths = random_images(2, 3, 2, 2), [32, 128]
    actual = run(
        architecture={"kind": "cnn", "depth": 2, "activation": "relu", "gain": 2**0.5},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 1},
        data=images(tmp_path / "x.npz", x),
        theory={"neurons": 4096, "replicates": 8, "fluctuations": False, "bias": False},
        ensemble={"widths": widths, "members": [800, 200]},
    )
    for name, expected in recursion(x, 2).items():
        networks = extrapolated(widths, [of_networks(actual, f"{name}_mean", n) for n in widths])
        for kind, values in (("theory", of_theory(actual, name)), ("networks", networks)):
            exact = known(expected.reshape(values.value.shape))
            assert_zero(f"{name} of {kind}", values - exact, float(np.max(np.abs(expected))))


def test_one_pixel_is_a_fully_connected_network(run: Runner, tmp_path: Path) -> None:
    """A 1x1 image and a 1x1 kernel: every number of `deep`, exactly."""
    data = images(tmp_path / "x.npz", random_images(3, 1, 1, 4), outputs=2)
    shared = {"depth": 2, "activation": "tanh", "bias": 0.3}
    sizes = {"neurons": 512, "replicates": 2, "fluctuations": False, "bias": False, "two_time": True}
    convolutional = run(architecture={"kind": "cnn", "kernel_size": 1, **shared}, data=data, theory=sizes, **SETTINGS)
    dense = run(architecture={"kind": "deep", **shared}, data=data, theory=sizes, **SETTINGS)
    xr.testing.assert_identical(theory(convolutional), theory(dense))


def test_shifted_images_have_the_same_kernels(run: Runner, tmp_path: Path) -> None:
    """With circular padding and a global average everything depends on images up to shifts."""
    x = random_images(3, 3, 3, 1)
    architecture = {"kind": "cnn", "depth": 2, "activation": "tanh", "padding": "circular", "readout": "global_average"}
    actual = []
    for name, shift in (("x.npz", (0, 0)), ("shifted.npz", (1, 2))):
        data = images(tmp_path / name, np.roll(x, shift, axis=(1, 2)))
        sizes = {"neurons": 1024, "replicates": 8, "fluctuations": False, "bias": False}
        actual.append(run(architecture=architecture, data=data, theory=sizes, **SETTINGS))
    for name in OBSERVABLES:
        one, other = (of_theory(tree, name) for tree in actual)
        assert_zero(name, one - other, float(np.max(np.abs(other.value))))


def test_trained_networks(run: Runner, tmp_path: Path) -> None:
    """Strided, circular, with weights for each position and biases."""
    architecture = {"depth": 1, "activation": "relu", "gain": 2**0.5, "stride": 2, "padding": "circular", "bias": 0.5}
    actual = run(
        architecture={"kind": "cnn", **architecture},
        data=images(tmp_path / "x.npz", random_images(3, 4, 5, 2), outputs=2),
        theory={"neurons": 4096, "replicates": 8, "draws": 1024, "draw_width": 8, "save_every": 2},
        ensemble={"widths": [24, 72], "members": [2000, 1500]},
        **SETTINGS,
    )
    assert_networks_agree(actual)


def test_images_too_small_to_pool_are_refused(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="architecture.pooling: got 'average'; expected images on which layer 2"):
        run(
            architecture={"kind": "cnn", "depth": 2, "pooling": "average"},
            data=images(tmp_path / "x.npz", random_images(2, 3, 3, 1)),
            theory={"neurons": 64},
            **SETTINGS,
        )
