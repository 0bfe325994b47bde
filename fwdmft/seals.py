"""A hash of its bytes at the end of a file, by which damage is seen before anything else looks at the file.

The libraries that read netCDF and zip archives do not look at what follows their contents, and can crash, or find
something else, where a bit is wrong. Copies made by other tools may lack the seal.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import IO

_MARK = b"\nfwdmft sha256 "
_LENGTH = len(_MARK) + sha256().digest_size
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Add the hash of its bytes to a file."""
    with open(path, "r+b") as file:
        file.write(_MARK + _digest(file, os.fstat(file.fileno()).st_size))


def has_seal(path: Path) -> bool:
    """Whether the file ends with a hash, right or wrong."""
    with open(path, "rb") as file:
        return _ending(file).startswith(_MARK)


def broken(path: Path) -> bool:
    """Whether the file ends with a hash that is not that of its bytes."""
    with open(path, "rb") as file:
        ending = _ending(file)
        size = file.tell() - len(ending)
        file.seek(0)
        return ending.startswith(_MARK) and ending[len(_MARK) :] != _digest(file, size)


def _ending(file: IO[bytes]) -> bytes:
    file.seek(max(0, os.fstat(file.fileno()).st_size - _LENGTH))
    return file.read()


def _digest(file: IO[bytes], size: int) -> bytes:
    """Hash of the next `size` bytes."""
    digest = sha256()
    for start in range(0, size, _BLOCK):
        digest.update(file.read(min(_BLOCK, size - start)))
    return digest.digest()
