"""The handwritten digits bundled with scikit-learn (8x8 images, from the UCI repository)."""

from __future__ import annotations

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.labelled import Pool, labelled_images
from fwdmft.experiment.images import DigitsData


def digits(spec: DigitsData) -> Dataset:
    """Digits x (point, resolution, resolution, 1), pixels from 0 to 16 unless standardised."""
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images = block_averages(bundled.images, spec.resolution)[..., None]
    names, side = ", ".join(spec.class_names.values()), spec.resolution
    description = f"handwritten digits {names} ({side}x{side} pixels)"
    pool = Pool(images, bundled.target, "images of digit")
    return labelled_images(spec, pool, None, description, {"source": "scikit-learn load_digits", "resolution": side})


def block_averages(images: np.ndarray, side: int) -> np.ndarray:
    """(n, side, side) means over square blocks of the pixels of images (n, K, K), K a multiple of `side`."""
    block = images.shape[1] // side
    return images.reshape(len(images), side, block, side, block).mean(axis=(2, 4))
