"""Write a result so that its path never holds half a file, and read one back, damage excluded."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import netCDF4
import xarray as xr

from fwdmft import files
from fwdmft.errors import InputError, WritingError
from fwdmft.results.checksums import Damaged, sealed, verified
from fwdmft.results.describe import SCHEMA_VERSION
from fwdmft.results.split_index import with_split_index
from fwdmft.results.validation import check_layout, check_numbers
from fwdmft.seals import broken, has_seal, seal

_LARGE = 512  # values; below this a compressed chunk is larger than the plain array
_ENCODING = {"zlib": True, "complevel": 1, "fletcher32": True}


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write `tree` as netCDF4, with checksums, to a temporary file beside `path`, then rename it onto `path`.

    An older result at `path` stays as it was until the new one is complete. Returns the path written.
    Raises InputError("output", ...) when the place cannot be written to, WritingError when writing fails.
    """
    target = check_output(path)
    # In a thread of its own: an exception by Ctrl-C, which comes to the main thread, would leave the locks of the
    # netCDF library taken, for which closing the file then waits for ever. It is raised when the file is written.
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        try:
            writer.submit(_write, sealed(tree), target).result()
        except (OSError, RuntimeError) as problem:  # RuntimeError is what the netCDF library says when a disk is full
            raise WritingError(f"the result could not be written to {target} ({problem}): is there room?") from problem
    return target


def _write(tree: xr.DataTree, target: Path) -> None:
    with files.replacing(target) as scratch:
        tree.to_netcdf(scratch, engine="netcdf4", encoding=_encoding(tree))
        seal(scratch)


def check_output(path: str | os.PathLike[str]) -> Path:
    """The path a result will be written to (links followed), checked before a long run rather than after it.

    Raises InputError("output", ...) if nothing can be written there, or what is there is not a result.
    """
    return files.check_output(path, "a result", ".nc", _is_result)


def _is_result(path: Path) -> bool:
    try:
        if has_seal(path):
            return True
        with netCDF4.Dataset(path) as file:
            return getattr(file, "creation_library", None) == "fwdmft"
    except (OSError, ValueError):
        return False


def open_result(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result into memory and close the file, so it can be rewritten while the tree is in use.

    Raises InputError("result", ...) if there is no such file, it is not a netCDF file written by fwdmft, or it does
    not hold what was written.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError("result", str(path), "an existing result file (netCDF, written by `fwdmft run`)")
    return opened(source, "result", lambda tree: with_split_index(tree.load()))


def opened(path: Path, field: str, take: Callable[[xr.DataTree], xr.DataTree]) -> xr.DataTree:
    """What `take` takes from a result, which is then closed: the whole is compared with its checksums before.

    Raises InputError, in which the file goes by `field`.
    """
    try:
        if broken(path):
            raise Damaged("some bytes")
        with xr.open_datatree(path, engine="netcdf4") as file:
            _check_version(file.attrs, field, path)
            if file.attrs.get("creation_library") != "fwdmft":
                return _foreign(path, file, take)
            return take(verified(file, values=not has_seal(path)))
    except Damaged as problem:
        words = f"the file as fwdmft wrote it; {problem} have changed since: compute it again"
        raise InputError(field, str(path), words) from None
    except InputError:
        raise
    except Exception as problem:  # whatever the libraries make of damaged files
        raise InputError(field, str(path), "a readable netCDF file written by `fwdmft run`") from problem


def _foreign(path: Path, file: xr.DataTree, take: Callable[[xr.DataTree], xr.DataTree]) -> xr.DataTree:
    """What is taken from a file that another program wrote, if it conforms to the format. Raises InputError."""
    check_layout(path)
    check_numbers(file)
    return take(file)


def _check_version(attrs: Any, field: str, path: Path) -> None:
    """Raise InputError unless these attributes of the root of a file are those of a result this version reads.

    Files of an earlier version with the same first number lack what was added since, and are read.
    """
    stored = attrs.get("schema_version")
    if stored is None and attrs.get("creation_library") != "fwdmft":
        raise InputError(field, str(path), "a result written by `fwdmft run`; this netCDF file is something else")
    if not _readable(stored):
        writer = f"{attrs.get('creation_library')} {attrs.get('creation_library_version', '')}".strip()
        first = SCHEMA_VERSION.partition(".")[0]
        expected = f"a result of schema_version {first}.0 to {SCHEMA_VERSION}, which this version of fwdmft reads"
        advice = "update fwdmft" if _newer(stored) else "compute it again"
        raise InputError(field, str(path), f"{expected}; this file has {stored}, of {writer}: {advice}")


def _readable(version: object) -> bool:
    numbers, ours = _numbers(version), _numbers(SCHEMA_VERSION)
    return numbers is not None and ours is not None and numbers[0] == ours[0] and numbers <= ours


def _newer(version: object) -> bool:
    numbers, ours = _numbers(version), _numbers(SCHEMA_VERSION)
    return numbers is not None and ours is not None and numbers > ours


def _numbers(version: object) -> tuple[int, int] | None:
    """(2, 1) of "2.1"; None of anything else."""
    parts = str(version).split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(map(str.isdecimal, parts)) else None


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    return {
        node.path: {
            str(name): _ENCODING
            for name, variable in node.data_vars.items()
            if variable.dtype.kind == "f" and variable.size >= _LARGE
        }
        for node in tree.subtree
    }


def validate_result(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result and check it against the published format, whoever wrote it.

    Raises InputError with a line for each problem: damage, another version, or what `schemas/result.schema.json` and
    its meaning do not allow.
    """

    def checked(tree: xr.DataTree) -> xr.DataTree:
        check_layout(Path(path))
        check_numbers(tree)
        return tree.load()

    return opened(Path(path), "result", checked)
