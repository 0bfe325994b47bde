"""Checkpoints: a directory from which an interrupted run goes on as if nothing had happened.

It holds a file for each part begun (`width-64.npz`, the arrays of a `Tally`) and `identity.json`, which says what they
are checkpoints of. Every file is written beside its name and renamed, so that whenever the process is killed the
directory holds whole files only; parts are sealed, and one that is damaged all the same is computed again. Where
nothing can be written the computation goes on without. Nothing here imports JAX.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from fwdmft.errors import ComputationError, FwdmftWarning, InputError
from fwdmft.files import PARTIAL, replacing
from fwdmft.interruption import parting_words
from fwdmft.seals import broken, has_seal, seal

_COST = 20.0
"""A checkpoint is written no sooner than this many times what the last one took."""


def beside(output: Path) -> Path:
    """Where `fwdmft run -o output` keeps its checkpoint."""
    return output.with_name(output.name + PARTIAL)


class Checkpoint:
    """A directory, made when there is something to keep, and what has to be written into it next.

    every: seconds between writes. identity: facts by name on which the results depend; a directory that was written
    under others is refused with an InputError, as is one that holds something else.
    """

    def __init__(self, directory: str | os.PathLike[str], identity: Mapping[str, str], every: float = 30.0) -> None:
        self.directory = Path(directory)
        self.identity = dict(identity)
        self.every = every
        self._pending: dict[str, Callable[[], dict[str, np.ndarray]]] = {}
        self._written, self._cost = time.monotonic(), 0.0
        self._resumed = False
        if self.directory.is_symlink() or self.directory.exists():
            self._check()

    def load(self, part: str) -> dict[str, np.ndarray] | None:
        """The arrays last written for this part, or None. What is damaged counts as not written, with a warning.

        The first time that there are some, it is said on standard error that the computation goes on from there.
        """
        path = self._path(part)
        if not path.exists():
            return None
        try:
            if has_seal(path) and not broken(path):
                with np.load(path, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}
                if not self._resumed:
                    self._resumed = True
                    print(f"going on from {self.directory}", file=sys.stderr)
                return arrays
            reason = "its checksum is wrong"
        except OSError as problem:
            reason = str(problem.strerror)
        _warn(f"{path} is damaged ({reason}): this part starts over")
        return None

    def offer(self, part: str, arrays: Callable[[], dict[str, np.ndarray]]) -> None:
        """Keep what `arrays` returns for this part, now or with the next write."""
        self._pending[part] = arrays
        if time.monotonic() - self._written >= max(self.every, _COST * self._cost):
            start = time.monotonic()
            try:
                self._write()
            except OSError as problem:
                _warn(f"no checkpoint in {self.directory} ({problem.strerror}): the computation goes on without it")
            self._written = time.monotonic()
            self._cost = self._written - start

    def _write(self) -> None:
        if not self._identity_file.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            with replacing(self._identity_file) as scratch:
                scratch.write_text(json.dumps(self.identity, indent=1))
        for part, arrays in self._pending.items():
            with replacing(self._path(part)) as scratch:
                with open(scratch, "wb") as file:
                    np.savez(file, allow_pickle=False, **arrays())
                seal(scratch)
        self._pending.clear()

    def _check(self) -> None:
        try:
            if not any(self.directory.iterdir()):
                return
            stored = json.loads(self._identity_file.read_text())
            if not isinstance(stored, dict):
                raise ValueError("not a mapping")
        except (OSError, ValueError) as problem:
            raise InputError("checkpoint", str(self.directory), f"a checkpoint of fwdmft; {_ADVICE}") from problem
        other = [name for name in self.identity if stored.get(name) != self.identity[name]]
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
    """Remove a checkpoint, if there is one; files of other names, and the directory around them, stay."""
    for pattern in ("identity.json", "*.npz", ".fwdmft-*.part"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


@contextmanager
def resumable(output: Path, fresh: bool) -> Iterator[Path]:
    """The directory of the checkpoint of a command that writes `output`; it goes when that is written, or can never be.

    fresh: whether to start over. Says on standard error when a later run may go on from there.
    """
    place = beside(output)
    if fresh:
        discard(place)

    def words() -> str:
        return f"{place} is kept: the same command goes on from there" if place.exists() else ""

    try:
        with parting_words(words):
            yield place
    except ComputationError:
        discard(place)
        raise
    except InputError:  # of which the same command would make no more
        raise
    except BaseException:
        if words():
            print(words(), file=sys.stderr)
        raise
    discard(place)


def _warn(words: str) -> None:
    warnings.warn(words, FwdmftWarning, stacklevel=3)
