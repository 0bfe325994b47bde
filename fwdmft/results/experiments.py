"""The experiments that results hold, field by field, and the seeds of their ensembles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from fwdmft.errors import NOTHING

WORDS = ("name", "title", "description")
"""Fields that change nothing that is computed."""


def experiment_of(tree: xr.DataTree) -> dict[str, Any]:
    """The experiment of a result as plain values."""
    return json.loads(tree.attrs["experiment"])


def differences(one: Mapping[str, Any], other: Mapping[str, Any], inside: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted fields in which two experiments differ, with both values (`NOTHING` where one lacks the field)."""
    differing: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*one, *other]):
        first, second = one.get(name, NOTHING), other.get(name, NOTHING)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            differing |= differences(first, second, f"{inside}{name}.")
        elif first != second:
            differing[f"{inside}{name}"] = (first, second)
    return differing


def swept_dimensions(tree: xr.DataTree) -> list[str]:
    """Dimensions of a sweep: none of a single result, nor of a sweep of which one point was chosen."""
    return [str(dim) for dim in np.atleast_1d(tree.attrs.get("sweep_dimensions", [])) if dim in tree.sizes]


def chosen_values(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """Values of swept fields of which one was chosen, by the names of their coordinates."""
    return {str(name): one for name, one in tree.coords.items() if "sweep_dimensions" in tree.attrs and not one.dims}


SOURCES = "merged_ensembles"
"""The attribute of a merged result that lists seed, widths and members of what it was merged from (JSON)."""


def sources(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Seed (None if the experiment does not say), widths and members of each width of all that the ensemble is from."""
    if SOURCES in tree.attrs:
        merged: list[dict[str, Any]] = json.loads(tree.attrs[SOURCES])
        return merged
    ensemble = tree["ensemble"].to_dataset()
    numbers = {name: ensemble[name].values.tolist() for name in ("width", "members")}
    return [{"seed": seed_of(tree, "ensemble"), "widths": numbers["width"], "members": numbers["members"]}]


def seed_of(tree: xr.DataTree, half: str) -> int | None:
    """The seed of theory or ensemble, if the experiment says it."""
    section = experiment_of(tree).get(half)
    return section.get("seed") if isinstance(section, dict) else None
