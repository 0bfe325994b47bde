"""Files that are whole or not there: written under another name, then renamed, after the place has been looked at.

Everything that is written for the user goes through `replacing`. Nothing here imports JAX.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fwdmft.errors import InputError

PARTIAL = ".partial"
"""What is added to the name of a result for the directory of its checkpoint."""

OF_FILES = frozenset({".nc", ".html", ".csv", ".json", ".yaml", ".yml", ".py", ".png", ".pdf", ".svg"})
"""Suffixes of files, which names of directories for output do not have: who gives such a name expects a file."""

_LOCK = threading.Lock()
_UNFINISHED: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to write to: flushed and renamed onto `path` at the end, removed after an error."""
    scratch = _scratch_beside(path)
    with _LOCK:
        _UNFINISHED.add(scratch)
        scratch.touch()
    try:
        yield scratch
        _flush_to_disk(scratch)
        with _LOCK:
            os.replace(scratch, path)
            _UNFINISHED.discard(scratch)
    finally:
        with _LOCK:
            if scratch in _UNFINISHED:
                scratch.unlink(missing_ok=True)
                _UNFINISHED.discard(scratch)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that is gone after this block, however that ends."""
    with TemporaryDirectory(prefix="fwdmft-", ignore_cleanup_errors=True) as place:
        with _LOCK:
            _UNFINISHED.add(Path(place))
        try:
            yield Path(place)
        finally:
            with _LOCK:
                _UNFINISHED.discard(Path(place))


def remove_unfinished() -> None:
    """Remove what is under way above, and let nothing more begin or finish: the process is about to end."""
    _LOCK.acquire(timeout=0.5)
    for scratch in _UNFINISHED:
        if scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            scratch.unlink(missing_ok=True)


def check_output(path: str | os.PathLike[str], what: str, suffix: str, is_such: Callable[[Path], bool]) -> Path:
    """The path a file will be written to (links followed), checked before a long run rather than after it.

    what: what is written, "a result". suffix: what its name ends in, ".nc". is_such: whether an existing file is one;
    anything else, such as the experiment or its data, is not overwritten. Raises InputError("output", ...).
    """

    def refusal(expected: str) -> InputError:
        return InputError("output", str(path), expected)

    try:
        target = Path(path).resolve()
        there = target.lstat() if os.path.lexists(target) else None
        target.with_name(target.name + PARTIAL).exists()  # fails if that is longer than names may be
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise refusal(f"the name of a file, but this is {_kind(there.st_mode)}")
        if not target.parent.is_dir():
            raise refusal(f"a file in an existing directory; there is no directory {target.parent}")
        if there is not None and _protected(there, target.parent.stat()):
            raise refusal("a file of yours; this one belongs to another user, whose directory protects it")
        if there is not None and there.st_size and not is_such(target):
            raise refusal(f"a new name, or {what} to replace; this file is something else. Remove it, if it may go")
        if target.suffix.lower() != suffix:
            raise refusal(f"a name that ends in {suffix}, as this is {what}")
        _try_writing(target)
    except (OSError, RuntimeError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        reason = getattr(problem, "strerror", None) or problem
        raise refusal(f"a file that can be written ({reason})") from None
    return target


def made_directory(path: str | os.PathLike[str]) -> Path:
    """A directory for output, made if it does not exist. Raises InputError("output", ...)."""
    place = Path(path)
    if place.suffix.lower() in OF_FILES and not place.is_dir():
        expected = f"the name of a directory; one that ends in {place.suffix} is that of a file"
        raise InputError("output", str(path), expected)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError("output", str(path), f"a directory that can be made ({problem.strerror})") from None
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError("output", str(path), "a writable directory")
    return place


def _try_writing(target: Path) -> None:
    scratch = _scratch_beside(target)
    try:
        scratch.touch()
    except PermissionError:
        expected = f"a file in a writable directory; {target.parent} is not writable"
        raise InputError("output", str(target), expected) from None
    scratch.unlink()


def _scratch_beside(path: Path) -> Path:
    return path.with_name(f".fwdmft-{secrets.token_hex(6)}.part")


def _protected(file: os.stat_result, home: os.stat_result) -> bool:
    """Whether a file cannot be replaced, as its directory (such as /tmp) lets owners alone remove files."""
    sticky = bool(home.st_mode & stat.S_ISVTX)
    return sticky and hasattr(os, "geteuid") and os.geteuid() not in (0, file.st_uid, home.st_uid)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISLNK: "a link"}
    return next((words for is_kind, words in kinds.items() if is_kind(mode)), "a device")


def _flush_to_disk(path: Path) -> None:
    """A rename may reach the disk before the data does unless the data is flushed first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
