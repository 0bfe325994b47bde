"""Hashes in a result file by which damage is seen when it is opened.

Every variable has the attribute `sha256`, over its values. Every group has one over its attributes, the names,
dimensions, shapes and attributes of its variables (their hashes among them), and the hashes of the groups below. That
of the root is a hash of everything; that of the group data is one of the data set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import xarray as xr

NAME = "sha256"

Attributes = Mapping[Any, Any]


class Damaged(ValueError):
    """Contents that are not what was written; its text says which."""


def sealed(tree: xr.DataTree) -> xr.DataTree:
    """The tree with its hashes as attributes."""
    groups = {path: _sealed_group(node.to_dataset(inherit=False)) for path, node in _named(tree)}
    whole = xr.DataTree.from_dict(groups)
    for node in reversed(list(whole.subtree)):
        node.attrs[NAME] = _group_hash(node)
    return whole


def verified(tree: xr.DataTree, values: bool) -> xr.DataTree:
    """The tree without its hashes, which were compared with what it holds: names, shapes, attributes, and values if
    wanted. Raises Damaged.
    """
    for path, node in _named(tree):
        if node.attrs.get(NAME) != _group_hash(node):
            raise Damaged(f"names or attributes in {path}")
        for name, variable in node.to_dataset(inherit=False).variables.items():
            if values and variable.attrs.get(NAME) != _values_hash(variable):
                raise Damaged(f"the values of {path.rstrip('/')}/{name}")
    return xr.DataTree.from_dict({path: _bare(node.to_dataset(inherit=False)) for path, node in _named(tree)})


def _named(tree: xr.DataTree) -> list[tuple[str, xr.DataTree]]:
    return [(node.path, node) for node in tree.subtree]


def _sealed_group(group: xr.Dataset) -> xr.Dataset:
    hashes = {name: {NAME: _values_hash(variable)} for name, variable in group.variables.items()}
    return _with_attributes(group, lambda name, variable: {**variable.attrs, **hashes[name]})


def _bare(group: xr.Dataset) -> xr.Dataset:
    bare = _with_attributes(group, lambda name, variable: _without_hash(variable.attrs))
    bare.attrs = _without_hash(group.attrs)
    return bare


def _with_attributes(group: xr.Dataset, attributes: Callable[[Any, xr.Variable], dict[Any, Any]]) -> xr.Dataset:
    changed = group.copy()
    for name, variable in group.variables.items():
        changed[name].attrs = attributes(name, variable)
    return changed


def _without_hash(attrs: Attributes) -> dict[Any, Any]:
    return {name: value for name, value in attrs.items() if name != NAME}


def _group_hash(node: xr.DataTree) -> str:
    group = node.to_dataset(inherit=False)
    variables = {
        str(name): [name in group.coords, list(one.dims), list(one.shape), _kind(one), _plain(one.attrs)]
        for name, one in group.variables.items()
    }
    below = {name: child.attrs.get(NAME) for name, child in node.children.items()}
    parts = [_plain(_without_hash(group.attrs)), variables, below]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _values_hash(variable: xr.Variable) -> str:
    values = variable.values
    if _kind(variable) == "text":
        return sha256(json.dumps([str(text) for text in values.ravel()]).encode()).hexdigest()
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return sha256(little.reshape(-1).data).hexdigest()


def _kind(variable: xr.Variable) -> str:
    return "text" if variable.dtype.kind in "OUST" else variable.dtype.newbyteorder("<").str


def _plain(attrs: Attributes) -> dict[str, Any]:
    """Attributes as netCDF gives them back, where a list of one is its entry."""
    return {str(name): np.ravel(np.asarray(value)).tolist() for name, value in attrs.items()}
