"""Unpickling numpy arrays, numbers and text, and nothing else: a pickle from outside must not run code."""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np


def load_pickled_arrays(content: bytes) -> Any:
    """What a pickle holds; text written by Python 2 comes as bytes. Raises pickle.UnpicklingError for other types."""
    return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()


def _dtype(name: str | bytes, align: object = False, copy: object = False) -> np.dtype:
    """Python 2 wrote the name as bytes and the two flags as integers, which some versions of numpy warn about."""
    return np.dtype(name.decode("ascii") if isinstance(name, bytes) else name, align=bool(align), copy=bool(copy))


_NEEDED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): codecs.encode,
    # numpy's own helpers, taken from what its objects say rebuilds them; the module was once called numpy.core.
    **{
        (f"numpy.{core}.{module}", name): helper
        for core in ("core", "_core")
        for module, name, helper in (
            ("multiarray", "_reconstruct", np.empty(0).__reduce__()[0]),
            ("multiarray", "scalar", np.float64(0).__reduce__()[0]),
            ("numeric", "_frombuffer", np.empty(1).__reduce_ex__(5)[0]),
        )
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NEEDED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return _NEEDED[module, name]
