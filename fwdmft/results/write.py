"""Write a result so that its path never holds half a file, and read one back."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import xarray as xr

from fwdmft.errors import InputError
from fwdmft.results.split_index import with_split_index

_COMPRESS_FROM = 512  # values; below this a compressed chunk is larger than the plain array
_COMPRESSION = {"zlib": True, "complevel": 1}


def write_result(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write `tree` as netCDF4 to a temporary file beside `path`, then rename it onto `path`.

    An older file at `path` stays as it was until the new one is complete. Returns the path written.
    Raises InputError("output", ...) when the place cannot be written to.
    """
    target = check_output(path)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        tree.to_netcdf(scratch, engine="netcdf4", encoding=_encoding(tree))
        _flush_to_disk(scratch)
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
    return target


def check_output(path: str | os.PathLike[str]) -> Path:
    """The path a result will be written to (links followed), checked before a long run rather than after it.

    Raises InputError("output", ...) if its directory is missing or read-only, or if the path is a directory.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise InputError("output", str(path), "the name of a file, but this is a directory")
    if not target.parent.is_dir():
        raise InputError("output", str(path), f"a file in an existing directory; {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError("output", str(path), f"a file in a writable directory; {target.parent} is not writable")
    return target


def open_result(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read a result into memory and close the file, so it can be rewritten while the tree is in use.

    Raises InputError("result", ...) if there is no such file, or it is not a netCDF file written by fwdmft.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError("result", str(path), "an existing result file (netCDF, written by `fwdmft run`)")
    tree = _read(source)
    if tree.attrs.get("creation_library") != "fwdmft" or "data" not in tree.children:
        raise InputError("result", str(path), "a result written by `fwdmft run`; this netCDF file is something else")
    return tree


def _read(source: Path) -> xr.DataTree:
    try:
        with xr.open_datatree(source, engine="netcdf4") as opened:
            return with_split_index(opened.load())
    except (OSError, ValueError) as problem:
        raise InputError("result", str(source), "a readable netCDF file written by `fwdmft run`") from problem


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    return {
        node.path: {
            str(name): _COMPRESSION
            for name, variable in node.data_vars.items()
            if variable.dtype.kind == "f" and variable.size >= _COMPRESS_FROM
        }
        for node in tree.subtree
    }


def _flush_to_disk(path: Path) -> None:
    """A rename may reach the disk before the data does unless the data is flushed first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
