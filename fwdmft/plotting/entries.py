"""Which few points, pairs of points and times of a result a figure shows, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

Index = dict[str, int]
_MOST_TARGETS = 3  # more outputs than these do not fit a panel's title


@dataclass(frozen=True)
class Entry:
    """One entry of an observable: positions along its dimensions, and a title for its panel."""

    index: Index
    title: str

    def of(self, values: xr.DataArray) -> xr.DataArray:
        """The entry of `values`, all other dimensions kept."""
        return values.isel(self.index)


def point_entries(tree: xr.DataTree, per_split: int, output: int | None = None) -> list[Entry]:
    """Up to `per_split` training and as many test points; `output` fixes the output, None keeps them all."""
    chosen = [*_members(tree, "train", per_split), *_members(tree, "test", per_split)]
    fixed: Index = {} if output is None else {"output": output}
    return [Entry({"point": point, **fixed}, _name(tree, point, output)) for point in chosen]


def pair_entries(tree: xr.DataTree, output: int = 0) -> list[Entry]:
    """Kernel entries: a training point with itself, with another, with a test point, as far as they exist.

    Without training points, a test point with itself and with others.
    """
    train = _members(tree, "train", 2)
    shown = [*train, *_members(tree, "test", 1 if train else 3)]
    pairs = [(shown[0], other) for other in shown]
    outputs = {"output": output, "output_prime": output}
    return [
        Entry({"point": first, "point_prime": second, **outputs}, _pair_name(tree, first, second, output))
        for first, second in pairs
    ]


def splits_present(tree: xr.DataTree) -> list[str]:
    """The splits that have points, training first."""
    present = set(_split(tree))
    return [split for split in ("train", "test") if split in present]


def output_count(tree: xr.DataTree) -> int:
    """C, the number of outputs."""
    return tree["data"].sizes["output"]


def some_times(count: int, most: int = 12, shift: float = 0.0) -> np.ndarray:
    """At most `most` of `count` positions, evenly spread; `shift` in [0, 1) moves them by part of a gap."""
    gap = (count - 1) / max(most - 1, 1)
    if gap <= 1:
        return np.arange(count)
    return np.unique(np.clip(np.round((np.arange(most) + shift) * gap), 0, count - 1).astype(int))


def three_times(count: int) -> list[int]:
    """First, middle and last of `count` positions, as far as they differ."""
    return sorted({0, (count - 1) // 2, count - 1})


def some_layers(depth: int, most: int = 5) -> list[int]:
    """At most `most` positions among `depth` layers, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, depth - 1, min(most, depth)).round().astype(int)).tolist()


def mean_diagonal(kernel: xr.DataArray) -> xr.DataArray:
    """The mean over points (and outputs) of a kernel's entries with themselves, all other dimensions kept.

    Undefined entries (NaN) are left out.
    """
    pairs = [dim for dim in ("point", "output") if dim in kernel.dims]
    same = {f"{dim}_prime": xr.DataArray(np.arange(kernel.sizes[dim]), dims=dim) for dim in pairs}
    return kernel.isel(same).mean(pairs)


def _split(tree: xr.DataTree) -> list[str]:
    """For every point, train or test."""
    return tree["data"].to_dataset()["split"].values.tolist()


def _members(tree: xr.DataTree, split: str, most: int) -> list[int]:
    members = np.flatnonzero(np.array(_split(tree)) == split)
    spread = np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int)
    return members[spread].tolist()


def _name(tree: xr.DataTree, point: int, output: int | None) -> str:
    """Split, number and target of a point; the target of all outputs unless one is chosen."""
    targets = tree["data"].to_dataset()["y"].values[point]
    label = f"{_split(tree)[point]} point {point}"
    if output is not None or len(targets) == 1:
        return f"{label}{_output_name(tree, output)}, $y$ = {_number(targets[output or 0])}"
    shown = [_number(value) for value in targets[:_MOST_TARGETS]]
    more = ["..."] if len(targets) > _MOST_TARGETS else []
    return f"{label}, $y$ = ({', '.join(shown + more)})"


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "\N{MINUS SIGN}")


def _pair_name(tree: xr.DataTree, first: int, second: int, output: int) -> str:
    split = _split(tree)
    return f"{split[first]} {first}, {split[second]} {second}{_output_name(tree, output)}"


def _output_name(tree: xr.DataTree, output: int | None) -> str:
    return "" if output is None or output_count(tree) == 1 else f", output {output}"
