"""Families of what the theory has between two times or two layers: kernels, covariances, responses; matrices alone."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from fwdmft.reporting.family import Curve, Family, Measure, pairs_in
from fwdmft.reporting.words import plain

_SECOND = ("time_prime", "layer_prime", "kernel_prime")
_ENDS = {"": "value", "_variance": "N Var", "_bias": "shift of the mean b"}


def between_families(theory: xr.Dataset | None) -> Iterator[Family]:
    """One family for each quantity with a second time or a second layer."""
    if theory is None:
        return
    second = {str(name): one for name, one in theory.data_vars.items() if set(_SECOND) & set(map(str, one.dims))}
    for name, one in second.items():
        if any(name.endswith(end) and name.removesuffix(end) in second for end in _not_of_value()):
            continue
        curves = {words: f"{name}{end}" for end, words in _ENDS.items() if f"{name}{end}" in second}
        measures = tuple(_measure(theory, words, variable) for words, variable in curves.items())
        pairs = pairs_in(measures)
        if pairs:
            words = str(one.attrs.get("long_name", name.replace("_", " "))).removesuffix(" at infinite width")
            symbol = plain(str(one.attrs.get("symbol", "")))
            title = f"{words[0].upper()}{words[1:]}" + (f": {symbol}" if symbol else "")
            short = symbol or words
            yield Family(name, title, short, "Theory.", measures, across=pairs[0][0], pairs=pairs, curves=False)


def _not_of_value() -> tuple[str, ...]:
    ends = tuple(end for end in _ENDS if end)
    return (*ends, "_standard_error", "_signal_to_noise", *(f"{end}_standard_error" for end in ends))


def _measure(theory: xr.Dataset, words: str, name: str) -> Measure:
    one = theory[name]
    curve = Curve("theory", "theory", one, theory.get(f"{name}_standard_error"))
    return Measure(words, plain(str(one.attrs.get("symbol", words))), (curve,))
