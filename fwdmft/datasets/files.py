"""Reading points from netCDF, .npz and .csv files."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.errors import InputError

_FIELD = "data.path"
_SPLITS = ("train", "test")


def read_dataset(path: Path) -> Dataset:
    """Read a file by its suffix and validate what it holds. Raises InputError."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(_FIELD, path, f"a file ending in {', '.join(_READERS)}")
    if not path.is_file():
        raise InputError(_FIELD, path, "an existing file")
    try:
        return reader(path).validate()
    except InputError:
        raise
    except Exception as error:
        raise InputError(_FIELD, path, f"a readable {path.suffix} file ({error})") from error


def _read_netcdf(path: Path) -> Dataset:
    import xarray as xr

    with xr.open_dataset(path, engine="netcdf4") as file:
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
    """Image dimensions in the order the package uses, where the file names them; otherwise as they come."""
    image = ("height", "width", "channel")
    return image if set(dims) == {"point", *image} else (...,)


def _read_npz(path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as file:
        for name in ("x", "y"):
            if name not in file:
                raise InputError(_FIELD, path, f"an array {name}; it has {', '.join(file)}")
        x, y = file["x"], file["y"]
        train = int(file["train"]) if "train" in file else len(x)
    if not 0 <= train <= len(x):
        raise InputError("data.train", train, f"a number of leading training rows between 0 and {len(x)}")
    return Dataset(x, y, np.arange(len(x)) < train, path.name, {"source": path.name})


def _read_csv(path: Path) -> Dataset:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        rows = list(reader)
        header = list(reader.fieldnames or [])
    x = _columns(path, header, rows, "x")
    y = _columns(path, header, rows, "y")
    split = [row["split"] if "split" in header else "train" for row in rows]
    return Dataset(x, y, _is_train(np.array(split, dtype=object)), path.name, {"source": path.name})


def _columns(path: Path, header: list[str], rows: list[dict[str, str]], letter: str) -> np.ndarray:
    """(rows, columns) of the columns letter0, letter1, ..., which must leave none out."""
    found = {name for name in header if re.fullmatch(rf"{letter}\d+", name)}
    names = [f"{letter}{i}" for i in range(len(found))]
    if not names or found != set(names):
        raise InputError(_FIELD, path, f"columns {letter}0, {letter}1, ... without gaps; it has {', '.join(header)}")
    return np.array([[_number(row, name, line) for name in names] for line, row in enumerate(rows, 2)]).reshape(
        len(rows), len(names)
    )


def _number(row: dict[str, str], name: str, line: int) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError):
        raise InputError(f"data.{name[0]}", row[name], f"a number in column {name}, line {line}") from None


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
