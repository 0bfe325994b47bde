"""The files of CIFAR-10 in their two standard formats, python (pickled) and binary, checked before use.

A row of a batch is one image: 1024 red, 1024 green and 1024 blue values of 32x32 pixels, row by row; in the binary
format the label comes first, as one byte.  The official batches have 10000 rows, and exactly as many of every
class as of any other; an archive with a batch of that size must be the official one, smaller ones may be anything.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fwdmft.datasets.pickled_arrays import load_pickled_arrays
from fwdmft.errors import InputError

FIELD = "data.path"
OFFICIAL_ROWS = 10000
LARGEST_BATCH = 1 << 26
_SIDE, _CHANNELS, _CLASSES = 32, 3, 10
_PIXELS = _SIDE * _SIDE * _CHANNELS

MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Checksums of official files: both archives, and the batches of the python format."""

Batch = tuple[np.ndarray, np.ndarray]
"""Images (n, 32, 32, 3), 0 to 255, and their labels (n,), 0 to 9."""


@dataclass(frozen=True)
class Format:
    """folder: its usual name.  suffix: of the names of its batches.  parse: content of a batch to images, labels."""

    folder: str
    suffix: str
    parse: Callable[[bytes], Batch]

    @property
    def names(self) -> list[str]:
        """Five training batches, then the test batch."""
        return [*(f"data_batch_{number}{self.suffix}" for number in range(1, 6)), f"test_batch{self.suffix}"]


@dataclass(frozen=True)
class Archive:
    """train, test: the images.  source: name of the folder or file.  checked: what was compared with the official."""

    train: Batch
    test: Batch
    source: str
    checked: str


def read_archive(path: Path) -> Archive:
    """Read a folder of batches, the folder that holds it, or a .tar.gz. Raises InputError for bad or missing files."""
    source, files = _files(path)
    form = _format_of(path, files)
    batches = [_parsed(source / name, files[name], form) for name in form.names]
    official = any(len(labels) == OFFICIAL_ROWS for _, labels in batches)
    checked = _check_official(source, files, form, batches) if official else "not of official size"
    images, labels = (np.concatenate(parts) for parts in zip(*batches[:-1], strict=True))
    return Archive((images, labels), batches[-1], source.name, checked)


def _files(path: Path) -> tuple[Path, Mapping[str, bytes]]:
    """Where batches were found, and their contents by name."""
    if os.path.isfile(path):
        return path, _packed_files(path)
    if not os.path.isdir(path):
        raise InputError(FIELD, path, "an existing folder or .tar.gz file with CIFAR-10 in it; it is not downloaded")
    folders = [path, *(path / form.folder for form in FORMATS)]
    for folder in folders:
        batches = {name: folder / name for name in _BATCHES if (folder / name).is_file()}
        if batches:
            return folder, {name: _content(file) for name, file in batches.items()}
    raise InputError(FIELD, path, f"a folder with the files {', '.join(FORMATS[0].names)} (or the same with .bin)")


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_BATCH:
        raise InputError(FIELD, path, f"a CIFAR-10 batch of at most {LARGEST_BATCH} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(FIELD, path, f"a readable file ({error.strerror})") from None


def _packed_files(path: Path) -> Mapping[str, bytes]:
    try:
        with tarfile.open(path) as archive:
            return dict(_batches_in(archive))
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(FIELD, path, f"a readable .tar.gz file ({error}); it is truncated or damaged") from error


def _batches_in(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Name and content of each batch; what is packed may be a thousand times smaller than what it unpacks to."""
    unpacked = 0
    for member in archive:
        unpacked += member.size
        if unpacked > 2 * len(_BATCHES) * LARGEST_BATCH:
            raise ValueError("it holds more than CIFAR-10 does")
        name = PurePosixPath(member.name).name
        file = archive.extractfile(member) if member.isfile() and name in _BATCHES else None
        if file is not None:
            yield name, file.read(LARGEST_BATCH)


def _format_of(path: Path, files: Mapping[str, bytes]) -> Format:
    """The format of which most files are there; all of them must be."""
    form = max(FORMATS, key=lambda form: sum(name in files for name in form.names))
    missing = [name for name in form.names if name not in files]
    if missing:
        raise InputError(FIELD, path, f"all six batches of CIFAR-10; {', '.join(missing)} missing")
    return form


def _parsed(path: Path, content: bytes, form: Format) -> Batch:
    try:
        images, labels = form.parse(content)
    except Exception as error:
        expected = f"a CIFAR-10 batch ({error or type(error).__name__}); it is truncated, damaged or something else"
        raise InputError(FIELD, path, expected) from error
    wrong = np.flatnonzero((labels < 0) | (labels >= _CLASSES))
    if wrong.size:
        expected = f"labels 0 to 9; row {wrong[0]} has {labels[wrong[0]]}, so the file is damaged"
        raise InputError(FIELD, path, expected)
    return images, labels


def _parse_pickled(content: bytes) -> Batch:
    batch = load_pickled_arrays(content)
    if not isinstance(batch, dict):
        raise ValueError(f"a pickled {type(batch).__name__}, not a dictionary")
    fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    absent = [name for name in ("data", "labels") if name not in fields]
    if absent:
        raise ValueError(f"no entry {' and '.join(absent)}")
    data, labels = np.asarray(fields["data"]), np.asarray(fields["labels"])
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise ValueError(f"data of type {data.dtype} and shape {data.shape}, not uint8 (n, {_PIXELS})")
    if labels.dtype.kind not in "iu" or labels.shape != data.shape[:1]:
        raise ValueError(f"labels of type {labels.dtype} and shape {labels.shape}, not {len(data)} whole numbers")
    return _images(data), labels.astype(np.int64)


def _parse_binary(content: bytes) -> Batch:
    if not content or len(content) % (1 + _PIXELS):
        raise ValueError(f"{len(content)} bytes, not a multiple of {1 + _PIXELS}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return _images(rows[:, 1:]), rows[:, 0].astype(np.int64)


def _images(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)


def _check_official(source: Path, files: Mapping[str, bytes], form: Format, batches: list[Batch]) -> str:
    """What could be checked of an archive of official size. Raises InputError unless all of it is as it should be."""
    for name, (_, labels) in zip(form.names, batches, strict=True):
        if len(labels) != OFFICIAL_ROWS:
            expected = f"{OFFICIAL_ROWS} rows, as in other batches; it has {len(labels)} and is truncated or altered"
            raise InputError(FIELD, source / name, expected)
        _check_md5(source / name, files[name])
    if source.name in MD5:
        _check_md5(source, source.read_bytes())
    train = np.concatenate([labels for _, labels in batches[:-1]])
    for split, labels in (("training", train), ("test", batches[-1][1])):
        if np.ptp(np.bincount(labels, minlength=_CLASSES)):
            expected = f"the official CIFAR-10, with as many {split} images of each class; it has been altered"
            raise InputError(FIELD, source, expected)
    known = source.name in MD5 or all(name in MD5 for name in form.names)
    return "official checksums" if known else "official sizes and class counts"


def _check_md5(path: Path, content: bytes) -> None:
    official = MD5.get(path.name)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if official not in (None, digest):
        expected = f"the official file, MD5 {official}; this one has {digest}, so it is damaged or altered"
        raise InputError(FIELD, path, expected)


FORMATS = (
    Format("cifar-10-batches-py", "", _parse_pickled),
    Format("cifar-10-batches-bin", ".bin", _parse_binary),
)
_BATCHES = {name for form in FORMATS for name in form.names}
