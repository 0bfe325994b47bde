"""Reading points from netCDF, .npz and .csv files."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.errors import InputError

_FIELD = "data.path"
_SPLITS = ("train", "test")
_AXES = (("height", "width", "channel"), ("step", "feature"), ("token", "feature"))


def read_dataset(path: Path) -> Dataset:
    """Read a file by its suffix and validate what it holds. Raises InputError."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(_FIELD, path, f"a file ending in {', '.join(_READERS)}")
    if not os.path.isfile(path):
        raise InputError(_FIELD, path, "an existing file")
    try:
        return reader(path).validate()
    except InputError:
        raise
    except Exception as error:
        raise InputError(_FIELD, path, f"a readable {path.suffix} file ({error})") from error


def _read_netcdf(path: Path) -> Dataset:
    import xarray as xr

    # Units such as "days since 2000-01-01" are no reason to make times of inputs or targets.
    with xr.open_dataset(path, engine="netcdf4", decode_times=False, decode_timedelta=False) as file:
        for name in ("x", "y"):
            if name not in file.variables:
                raise InputError(_FIELD, path, f"a variable {name}; it has {', '.join(map(str, file.variables))}")
            if "point" not in file[name].dims:
                raise InputError(f"data.{name}", file[name].dims, "a dimension called point")
        x = file["x"].transpose("point", *_order(file["x"].dims)).values
        y = file["y"].transpose("point", ...).values
        split = file["split"].values if "split" in file.variables else np.full(len(x), "train")
        title = str(file.attrs.get("title", path.name))
    return Dataset(x, y, _is_train(split), title, {"source": path.name})


def _order(dims: tuple[object, ...]) -> tuple[object, ...]:
    """Dimensions besides points in the order the package uses, where the file names them; otherwise as they come."""
    named = [axes for axes in _AXES if set(dims) == {"point", *axes}]
    return named[0] if named else (...,)


def _read_npz(path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as file:
        for name in ("x", "y"):
            if name not in file:
                raise InputError(_FIELD, path, f"an array {name}; it has {', '.join(file)}")
        unknown = [name for name in file if name not in ("x", "y", "train")]
        if unknown and "train" not in file:
            # One of them may be train under another name.
            words = f"an array train beside {', '.join(unknown)}, or arrays x and y alone"
            raise InputError(_FIELD, path, words)
        x, y = file["x"], file["y"]
        for name, array in (("x", x), ("y", y)):
            if array.ndim == 0:
                raise InputError(f"data.{name}", array.item(), "an array whose first axis is that of points")
        train = file["train"] if "train" in file else np.array(len(x))
    if train.dtype.kind not in "iu" or train.ndim != 0 or not 0 <= train <= len(x):
        given = train.item() if train.ndim == 0 else train.tolist()
        raise InputError("data.train", given, f"a number of leading training rows, a whole number from 0 to {len(x)}")
    return Dataset(x, y, np.arange(len(x)) < train, path.name, {"source": path.name})


def _read_csv(path: Path) -> Dataset:
    # The "-sig" takes away the byte-order mark that spreadsheets write.
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        lines = [(reader.line_num, cells) for cells in reader if cells]
    x_names, y_names = _names(path, header, "x"), _names(path, header, "y")
    odd = [name for name in header if header.count(name) > 1 or name not in {*x_names, *y_names, "split"}]
    if odd:
        expected = f"columns {x_names[0]}.., {y_names[0]}.. and split, each once; it has {', '.join(header)}"
        raise InputError(_FIELD, path, expected)
    rows = [_row(path, header, cells, line) for line, cells in lines]
    x, y = _columns(rows, x_names), _columns(rows, y_names)
    split = [row["split"][0] if "split" in header else "train" for row in rows]
    return Dataset(x, y, _is_train(np.array(split, dtype=object)), path.name, {"source": path.name})


_Row = dict[str, tuple[str, int]]
"""Cells by the name of their column, each with the number of its line."""


def _names(path: Path, header: list[str], letter: str) -> list[str]:
    """The columns letter0, letter1, ..., which must leave none out."""
    matching = {name for name in header if re.fullmatch(rf"{letter}\d+", name)}
    names = [f"{letter}{i}" for i in range(len(matching))]
    if not names or matching != set(names):
        raise InputError(_FIELD, path, f"columns {letter}0, {letter}1, ... without gaps; it has {', '.join(header)}")
    return names


def _row(path: Path, header: list[str], cells: list[str], line: int) -> _Row:
    if len(cells) != len(header):
        raise InputError(_FIELD, path, f"{len(header)} cells in line {line}, as the header has; it has {len(cells)}")
    return {name: (cell, line) for name, cell in zip(header, cells, strict=True)}


def _columns(rows: list[_Row], names: list[str]) -> np.ndarray:
    """(row, column), of whole numbers where every cell is written as one."""
    cells = [[row[name][0].strip() for name in names] for row in rows]
    whole = rows and all(re.fullmatch(r"\d{1,9}", cell) for each in cells for cell in each)
    values = [[_number(*row[name], name) for name in names] for row in rows]
    return np.array(values, np.int64 if whole else np.float64).reshape(len(rows), len(names))


def _number(cell: str, line: int, name: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"data.{name[0]}", cell, f"a number in column {name}, line {line}") from None


def _is_train(split: np.ndarray) -> np.ndarray:
    """True where `split` says train; every entry must be train or test."""
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in np.ravel(split)]
    for word in words:
        if word.strip() not in _SPLITS:
            raise InputError("data.split", word, "train or test for every point")
    return np.array([word.strip() == "train" for word in words], dtype=bool)


_READERS: dict[str, Callable[[Path], Dataset]] = {
    ".nc": _read_netcdf,
    ".nc4": _read_netcdf,
    ".npz": _read_npz,
    ".csv": _read_csv,
}
