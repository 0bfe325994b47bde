"""Patches of the two photographs bundled with scikit-learn: natural RGB images that need no download."""

from __future__ import annotations

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.labelled import Pool, labelled_images
from fwdmft.experiment.images import PHOTOGRAPHS, PhotoPatchesData

_LARGEST = 255


def photo_patches(spec: PhotoPatchesData) -> Dataset:
    """Patches x (point, size, size, 3), pixels from 0 to 1 unless standardised.

    Training patches are from the left half of each photograph and test patches from the right, each half cut into
    tiles, so that no pixel is in two patches.
    """
    from sklearn.datasets import load_sample_image

    photographs = [np.asarray(load_sample_image(f"{name}.jpg")) for name in PHOTOGRAPHS]
    middle = photographs[0].shape[1] // 2
    train = _pool([each[:, :middle] for each in photographs], spec.size, "training patches of photograph")
    test = _pool([each[:, middle:] for each in photographs], spec.size, "test patches of photograph")
    description = f"{spec.size}x{spec.size} patches of photographs of {' and '.join(PHOTOGRAPHS)}"
    facts: dict[str, str | int | float] = {"source": "scikit-learn load_sample_images", "size": spec.size}
    return labelled_images(spec, train, test, description, facts, _LARGEST)


def _pool(regions: list[np.ndarray], size: int, name: str) -> Pool:
    tiled = [tiles(region, size) for region in regions]
    return Pool(np.concatenate(tiled), np.repeat(np.arange(len(tiled)), [len(each) for each in tiled]), name)


def tiles(region: np.ndarray, size: int) -> np.ndarray:
    """(n, size, size, C) squares that tile a region (H, W, C) from its top left corner, row by row."""
    rows, columns = region.shape[0] // size, region.shape[1] // size
    whole = region[: rows * size, : columns * size]
    blocks = whole.reshape(rows, size, columns, size, region.shape[2]).swapaxes(1, 2)
    return blocks.reshape(rows * columns, size, size, region.shape[2])
