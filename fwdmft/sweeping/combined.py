"""The results of a sweep as one tree, with a dimension for every axis of the grid.

Points that differ in shape are aligned: labelled dimensions (time, width, layer, ...) by label, the others (point,
output, ...) from their start. What a point lacks is NaN, or "" in text; whole numbers are floats, so that they can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.core.indexing import LazilyIndexedArray

from fwdmft.errors import InputError
from fwdmft.results.describe import attributes
from fwdmft.results.split_index import with_split_index
from fwdmft.results.write import opened
from fwdmft.sweeping.manifest import Manifest, read_manifest
from fwdmft.sweeping.names import short_names
from fwdmft.sweeping.stacked import Index, Part, Stacked

Groups = Mapping[Index, xr.Dataset]
_KEPT = ("Conventions", "creation_library", "creation_library_version", "schema_version", "source", "model_conventions")


def open_sweep(directory: str | Path) -> xr.DataTree:
    """The finished points of a sweep in the groups and variables of a result, read when they are asked for.

    Every variable has a dimension for each axis of the grid in front of its own, named by the last part of the
    swept field (all of it, dots and all, where that name is taken); fields that vary together share the dimension
    of the first and are coordinates along it. Coordinates are read at once, variables when they are indexed; `load`
    keeps them. Missing points and entries are NaN. Variables whose dimensions are not the same at all points cannot
    be combined: the attribute `left_out` of their group names them.

    Raises InputError if this is no directory of a sweep, or no point is finished.
    """
    home = Path(directory)
    manifest = read_manifest(home)
    shape = manifest.shape
    files = {index: home / file for index, file in zip(np.ndindex(shape), manifest.files, strict=True)}
    finished = {index: path for index, path in files.items() if path.is_file()}
    if not finished:
        raise InputError("sweep", str(directory), "at least one finished point")
    outlines = {index: _outline(path) for index, path in finished.items()}
    names = {name: None for outline in outlines.values() for name in outline.groups}
    groups = {
        name: {index: one.groups[name] for index, one in outlines.items() if name in one.groups} for name in names
    }
    axes = _axes(manifest, _names_in(groups))
    combined = {name: _combined(name, opened, finished, axes) for name, opened in groups.items()}
    root = axes.coordinates.assign_attrs(_root_attributes(manifest, axes, next(iter(outlines.values())).attrs))
    return with_split_index(xr.DataTree.from_dict({"/": root, **combined}))


# --- the files ---


@dataclass(frozen=True)
class _Outline:
    """What a result file holds, without the values of its variables: they read as zero and take no memory."""

    attrs: dict[str, Any]
    groups: dict[str, xr.Dataset]


def _outline(path: Path) -> _Outline:
    """The outline of a file, which is closed again: variables are read from files of their own (see `Part`)."""
    tree = opened(path, "sweep", _without_values)
    attrs = {str(name): value for name, value in tree.attrs.items()}
    return _Outline(attrs, {name: group.to_dataset() for name, group in tree.children.items()})


def _without_values(tree: xr.DataTree) -> xr.DataTree:
    return tree.map_over_datasets(_group_without_values)


def _group_without_values(whole: xr.Dataset) -> xr.Dataset:
    empty = {
        name: (one.dims, np.broadcast_to(np.zeros((), one.dtype), one.shape), one.attrs)
        for name, one in whole.data_vars.items()
    }
    return xr.Dataset(empty, coords=whole.coords.to_dataset().load().coords, attrs=whole.attrs)


# --- the grid ---


@dataclass(frozen=True)
class _Axes:
    """The dimensions of the grid, and the values of the swept fields along them."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coordinates: xr.Dataset


def _axes(manifest: Manifest, taken: frozenset[str]) -> _Axes:
    names = short_names([field for axis in manifest.axes for field in axis], taken)
    dims = tuple(names[next(iter(axis))] for axis in manifest.axes)
    labels = {
        names[field]: (dim, _values(values), attributes(f"value of {field}"))
        for axis, dim in zip(manifest.axes, dims, strict=True)
        for field, values in axis.items()
    }
    return _Axes(dims, manifest.shape, xr.Dataset(coords=labels))


def _values(values: Sequence[Any]) -> np.ndarray:
    """Numbers as numbers, anything else as text."""
    if all(isinstance(value, int | float) for value in values):
        return np.asarray(values)
    return np.asarray(["none" if value is None else str(value) for value in values])


def _names_in(groups: Mapping[str, Groups]) -> frozenset[str]:
    every = [one for opened in groups.values() for one in opened.values()]
    return frozenset(str(name) for one in every for name in (*one.variables, *one.dims))


def _root_attributes(manifest: Manifest, axes: _Axes, attrs: Mapping[str, Any]) -> dict[str, Any]:
    own = {"title": manifest.description or manifest.name, "sweep": manifest.name, "sweep_dimensions": list(axes.dims)}
    first = {"first_experiment": attrs["experiment"]} if "experiment" in attrs else {}
    return own | first | {name: attrs[name] for name in _KEPT if name in attrs}


# --- one group ---


def _combined(group: str, opened: Groups, files: Mapping[Index, Path], axes: _Axes) -> xr.Dataset:
    sizes, labels = _sizes(opened), _labels(opened)
    places = {index: _places(one, sizes, labels) for index, one in opened.items()}
    variables: dict[str, xr.Variable] = {}
    coordinates, left_out = dict(labels), []
    for name in dict.fromkeys(str(name) for one in opened.values() for name in one.variables if name not in labels):
        having = {index: one[name].variable for index, one in opened.items() if name in one.variables}
        kind = {(one.dims, one.dtype.kind in "OUST") for one in having.values()}
        if len(kind) > 1:
            left_out.append(name)
            continue
        parts = {
            index: Part(files[index], group, name, tuple(places[index][str(dim)] for dim in one.dims))
            for index, one in having.items()
        }
        stacked = _stacked(parts, having, axes)
        if any(name in one.coords for one in opened.values()):
            coordinates[name] = _same_everywhere(stacked, having)
        else:
            variables[name] = stacked
    attrs = {"left_out": left_out} if left_out else {}
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)


def _sizes(opened: Groups) -> dict[str, int]:
    """Length of each dimension without labels: the longest among the points."""
    sizes: dict[str, int] = {}
    for one in opened.values():
        for dim, size in one.sizes.items():
            sizes[str(dim)] = max(sizes.get(str(dim), 0), size)
    return sizes


def _labels(opened: Groups) -> dict[str, xr.Variable]:
    """The labels of each labelled dimension: all that occur, numbers in order."""
    dims = {str(name): one[name].attrs for one in opened.values() for name in one.indexes}
    return {dim: xr.Variable((dim,), _union(opened, dim), attrs) for dim, attrs in dims.items()}


def _union(opened: Groups, dim: str) -> np.ndarray:
    each = [one[dim].values.tolist() for one in opened.values() if dim in one.indexes]
    union = np.array(list(dict.fromkeys(label for labels in each for label in labels)))
    return np.sort(union) if union.dtype.kind in "iuf" else union


def _places(one: xr.Dataset, sizes: dict[str, int], labels: Mapping[str, xr.Variable]) -> dict[str, np.ndarray]:
    """For every dimension of a point, its position of each combined position, or -1 (see `Part`)."""
    positions = {}
    for name, size in one.sizes.items():
        dim = str(name)
        if dim in labels:
            positions[dim] = one.indexes[name].get_indexer(labels[dim].values)
        else:
            every = np.arange(sizes[dim])
            positions[dim] = np.where(every < size, every, -1)
    return positions


def _stacked(parts: Mapping[Index, Part], having: Mapping[Index, xr.Variable], axes: _Axes) -> xr.Variable:
    one = next(iter(having.values()))
    dims = tuple(map(str, one.dims))
    inner = tuple(len(places) for places in next(iter(parts.values())).places)
    dtype = np.dtype(object) if one.dtype.kind in "OUST" else np.result_type(one.dtype, np.float32)
    lazy = LazilyIndexedArray(Stacked(parts, axes.shape, inner, dtype))
    return xr.Variable((*axes.dims, *dims), lazy, one.attrs)


def _same_everywhere(stacked: xr.Variable, having: Mapping[Index, xr.Variable]) -> xr.Variable:
    """A coordinate without the axes of the grid if it is the same at all points, else as it is; read at once."""
    first, *rest = having.values()
    if all(first.equals(one) for one in rest):
        return first.copy(deep=True)
    return stacked.copy(deep=True).load()
