"""Opening result files for single variables: at once closed again, or kept open while many are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

import netCDF4

MOST = 128
"""Files that are kept open at a time: systems allow a process a few hundred."""

_KEPT: ContextVar[tuple[ExitStack, dict[Path, netCDF4.Dataset]] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_open() -> Iterator[None]:
    """Within this block `opened` opens each of the first `MOST` files once; opening one costs more than reading."""
    with ExitStack() as stack:
        token = _KEPT.set((stack, {}))
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def opened(path: Path) -> Iterator[netCDF4.Dataset]:
    """A netCDF file open for reading, with missing values as they are stored. Not safe between threads."""
    kept = _KEPT.get()
    if kept is None or (path not in kept[1] and len(kept[1]) >= MOST):
        with _open(path) as file:
            yield file
        return
    stack, files = kept
    if path not in files:
        files[path] = stack.enter_context(_open(path))
    yield files[path]


def _open(path: Path) -> netCDF4.Dataset:
    file = netCDF4.Dataset(path)
    file.set_auto_mask(False)
    return file
