"""The experiments that results hold, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from fwdmft.errors import NOTHING

WORDS = ("name", "title", "description")
"""Fields that change nothing that is computed."""


def experiment_of(tree: xr.DataTree) -> dict[str, Any]:
    """The experiment of a result as plain values."""
    return json.loads(tree.attrs["experiment"])


def differences(one: Mapping[str, Any], other: Mapping[str, Any], inside: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted fields in which two experiments differ, with both values (`NOTHING` where one lacks the field)."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*one, *other]):
        first, second = one.get(name, NOTHING), other.get(name, NOTHING)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found |= differences(first, second, f"{inside}{name}.")
        elif first != second:
            found[f"{inside}{name}"] = (first, second)
    return found
