"""CIFAR-10 (Krizhevsky 2009) from the user's own copy."""

from __future__ import annotations

from pathlib import Path

from fwdmft.datasets.cifar_archive import read_archive
from fwdmft.datasets.dataset import Dataset
from fwdmft.datasets.labelled import Pool, labelled_images
from fwdmft.experiment.images import Cifar10Data

_LARGEST = 255


def cifar10(spec: Cifar10Data, path: Path) -> Dataset:
    """Images x (point, 32, 32, 3), pixels from 0 to 1 unless standardised; test points are from the test batch."""
    archive = read_archive(path)
    train, test = Pool(*archive.train, "training images of"), Pool(*archive.test, "test images of")
    facts: dict[str, str | int | float] = {"source": f"CIFAR-10 from {archive.source} ({archive.checked})"}
    description = f"CIFAR-10 {', '.join(spec.class_names.values())}"
    return labelled_images(spec, train, test, description, facts, _LARGEST)
