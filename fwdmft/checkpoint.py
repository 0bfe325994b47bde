"""Checkpoints: a directory from which an interrupted run goes on as if nothing had happened.

It holds a file for each part begun (`width-64.npz`, the arrays of a `Tally`) and `identity.json`, which says what they
are checkpoints of. Every file is written beside its name and renamed, so that whenever the process is killed the
directory holds whole files only. Nothing here imports JAX.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np

from fwdmft.errors import InputError

_COST = 20.0
"""A checkpoint is written no sooner than this many times what the last one took."""


def beside(output: Path) -> Path:
    """Where `fwdmft run -o output` keeps its checkpoint."""
    return output.with_name(f"{output.name}.partial")


class Checkpoint:
    """A directory, made when there is something to keep, and what has to be written into it next.

    every: seconds between writes. identity: facts by name on which the results depend; a directory that was written
    under others is refused with an InputError, as is one that cannot be read.
    """

    def __init__(self, directory: str | os.PathLike[str], identity: Mapping[str, str], every: float = 30.0) -> None:
        self.directory = Path(directory)
        self.identity = dict(identity)
        self.every = every
        self._pending: dict[str, Callable[[], dict[str, np.ndarray]]] = {}
        self._written, self._cost = time.monotonic(), 0.0
        if self.directory.exists():
            self._check()

    def load(self, part: str) -> dict[str, np.ndarray] | None:
        """The arrays last written for this part, or None."""
        path = self._path(part)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, BadZipFile) as problem:
            raise InputError("checkpoint", str(path), f"a readable file ({problem}); {_ADVICE}") from problem

    def offer(self, part: str, arrays: Callable[[], dict[str, np.ndarray]]) -> None:
        """Keep what `arrays` returns for this part, now or with the next write."""
        self._pending[part] = arrays
        if time.monotonic() - self._written >= max(self.every, _COST * self._cost):
            self._write()

    def _write(self) -> None:
        start = time.monotonic()
        if not self._identity_file.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.identity, indent=1).encode()
            _replace(self._identity_file, lambda file: file.write(text))
        for part, arrays in self._pending.items():
            _replace(self._path(part), partial(_save, arrays()))
        self._pending.clear()
        self._written = time.monotonic()
        self._cost = self._written - start

    def _check(self) -> None:
        try:
            found = json.loads(self._identity_file.read_text())
        except (OSError, ValueError) as problem:
            raise InputError("checkpoint", str(self.directory), f"a checkpoint of fwdmft; {_ADVICE}") from problem
        other = [name for name in self.identity if found.get(name) != self.identity[name]]
        if other:
            expected = f"a checkpoint of this experiment (its {' and '.join(other)} differ); {_ADVICE}"
            raise InputError("checkpoint", str(self.directory), expected)

    @property
    def _identity_file(self) -> Path:
        return self.directory / "identity.json"

    def _path(self, part: str) -> Path:
        return self.directory / f"{part}.npz"


_ADVICE = "remove it, or start over with --fresh"


def discard(directory: Path) -> None:
    """Remove a checkpoint, if there is one."""
    shutil.rmtree(directory, ignore_errors=True)


def _save(arrays: dict[str, np.ndarray], file: IO[bytes]) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, see it onto the disk, and rename it onto `path`."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(scratch, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
