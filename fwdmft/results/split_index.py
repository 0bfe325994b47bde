"""Choosing points by split: `result["data"].sel(split="train")`, `result["theory"].sel(point_split="test")`.

The split of a point is a coordinate along `point`. xarray selects by it once it is an index, which files do not keep.
"""

from __future__ import annotations

import xarray as xr

_OF_POINTS = ("split", "point_split")


def with_split_index(tree: xr.DataTree) -> xr.DataTree:
    """The tree with an index for the split of its points, in every group that has them."""
    groups = {node.path: _indexed(node.to_dataset(inherit=False)) for node in tree.subtree}
    return xr.DataTree.from_dict(groups)


def _indexed(group: xr.Dataset) -> xr.Dataset:
    for name in _OF_POINTS:
        if name in group.coords and group[name].dims == ("point",) and name not in group.xindexes:
            group = group.set_xindex(name)
    return group
