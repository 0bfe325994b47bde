"""Unpickling numpy arrays, numbers and text, and nothing else: a pickle from outside must not run code.

numpy's own helpers trust what they are given: arrays of objects over any bytes, structured types with any offsets. None
of them is called. What a pickle says of an array is checked and made into one here, of plain numbers alone.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np


def load_pickled_arrays(content: bytes) -> Any:
    """What a pickle holds; text written by Python 2 comes as bytes. Raises pickle.UnpicklingError for other types."""
    _check_opcodes(content)
    return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()


def _check_opcodes(content: bytes) -> None:
    """Refuse pickles that are cut off, or number what they remember without bound, for which memory is taken."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"it remembers an object as number {argument}")


class _DataType:
    """A data type under construction: a plain number of one to eight bytes."""

    def __init__(self, name: object, *_: object) -> None:
        self._name, self._order = _text(name), "="

    def __setstate__(self, state: object) -> None:
        """(version, byte order, no subarray, no names, no fields, size, alignment, flags)."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it has an array of structures")
        self._order = _text(state[1])

    @property
    def dtype(self) -> np.dtype:
        dtype = np.dtype(self._name).newbyteorder("=" if self._order == "|" else self._order)  # type: ignore[arg-type]
        if dtype.kind not in "buif" or dtype.itemsize > 8:
            raise pickle.UnpicklingError(f"it has an array of type {dtype}, not of numbers")
        return dtype


class _Array:
    """An array under construction; numpy takes it for an array once it is complete."""

    def __init__(self) -> None:
        self._values: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        """(version, shape, data type, whether columns come first, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it has an array in an unknown format")
        _, shape, kind, columns_first, content = state
        self._values = _array(content, kind, shape, "F" if columns_first else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._values is None:
            raise pickle.UnpicklingError("it has an array without numbers")
        return np.array(self._values, dtype=dtype)


def _array(content: object, kind: object, shape: object, order: object) -> np.ndarray:
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, _DataType) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("it has an array in an unknown format")
    layout: Literal["F", "C"] = "F" if order == "F" else "C"
    return np.frombuffer(content, kind.dtype).reshape([int(size) for size in shape], order=layout)


def _scalar(kind: object, content: object) -> int | float | bool:
    (number,) = _array(content, kind, (1,), "C").tolist()
    return number  # type: ignore[no-any-return]


def _encode(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes in old pickles."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"it has text in the code {codec!r}")
    return text.encode("latin1")


def _text(name: object) -> str:
    return name.decode("ascii") if isinstance(name, bytes) else str(name)


class _Helper:
    """A function that a pickle may call, and cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


def _refused(*_: object) -> Any:
    raise pickle.UnpicklingError("it makes an array by hand")


_NEEDED: dict[tuple[str, str], _Helper] = {
    ("numpy", "ndarray"): _Helper(_refused),
    ("numpy", "dtype"): _Helper(_DataType),
    ("_codecs", "encode"): _Helper(_encode),
    # The module was once called numpy.core.
    **{
        (f"numpy.{core}.{module}", name): _Helper(function)
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", lambda *_: _Array()),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array),
        )
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NEEDED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return _NEEDED[module, name]
