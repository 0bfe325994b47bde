"""One ensemble from those of several results of one experiment with different seeds, as if trained at once.

Means, variances and their errors come from the count and the first four moments of each ensemble, statistics of the
task from sums over the groups of the jackknife: results hold both. Nothing is trained. Plugins of the experiment are
asked for the loss, and for dimensions and words of their observables.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from fwdmft.datasets import Dataset
from fwdmft.errors import NOTHING, InputError, shortened
from fwdmft.experiment.loss import LossSpec
from fwdmft.networks.ensemble import WidthStatistics, statistics_of
from fwdmft.networks.statistics import GroupSums, Moments
from fwdmft.networks.tally import Tally
from fwdmft.observables import METRICS, OBSERVABLES, Observable
from fwdmft.registry import Architecture, registry
from fwdmft.results.build import ensemble_group
from fwdmft.results.comparison import SUBSET
from fwdmft.results.experiments import SOURCES, WORDS, differences, experiment_of, sources
from fwdmft.results.split_index import with_split_index

_OWN = ("widths", "members", "seed", "save_every")
"""Fields of the section ensemble in which results may differ; what is saved is compared by its times."""


@dataclass(frozen=True)
class _Observed:
    """What statistics of a task need to know of it, see `fwdmft.networks.task_statistics.Observed`."""

    loss: LossSpec
    y: np.ndarray
    train: np.ndarray
    times: np.ndarray
    kernel_points: int | None
    kernel_at: np.ndarray


def merge(results: Mapping[str, xr.DataTree]) -> xr.DataTree:
    """One result with the ensembles of several, in their order.

    results: by the names that messages use, two or more. Their experiments may differ in widths, members and seed of
    the ensembles, in words, and in that only some have a theory. The result has the theory of the first that has one.
    Its experiment states all widths and members, and the seed of the first; the attribute `merged_ensembles` has all
    seeds. Equals one ensemble of all members, to rounding. Raises InputError for results of different experiments or
    data, for networks that are in two of them, for results that do not hold what merging needs, and for plugins of the
    experiment that are not installed.
    """
    if len(results) < 2:
        raise InputError("results", list(results), "two results or more")
    _check_same(results)
    _check_distinct(results)
    trees = list(results.values())
    tallies = _merged_tallies(results)
    first = trees[0]
    origin = next((tree for tree in trees if "theory" in tree.children), first)
    dataset = _dataset(first)
    observed = _observed(first, dataset)
    statistics = [statistics_of(observed, tally, width) for width, tally in tallies.items()]
    groups = {name: origin[name].to_dataset() for name in ("data", "theory", "diagnostics") if name in origin.children}
    groups["ensemble"] = ensemble_group(statistics, _known(first), dataset)
    root = xr.Dataset(attrs=_attributes(results, origin, statistics))
    ordered = {name: groups[name] for name in ("data", "theory", "ensemble", "diagnostics") if name in groups}
    return with_split_index(xr.DataTree.from_dict({"/": root, **{f"/{name}": one for name, one in ordered.items()}}))


# --- what may be merged ---


def _check_same(results: Mapping[str, xr.DataTree]) -> None:
    (first, reference), *others = results.items()
    for name, tree in results.items():
        if "ensemble" not in tree.children:
            raise InputError("results", name, "a result with an ensemble")
        if tree.attrs["creation_library"] != "fwdmft":
            raise InputError("results", name, "a result written by fwdmft, whose experiment says what was trained")
    theories = {name: experiment_of(tree).get("theory") for name, tree in results.items()}
    theory = next((one for one in theories.values() if one), None)
    for name, tree in others:
        for field, (ours, theirs) in differences(_compared(reference), _compared(tree)).items():
            raise InputError(f"{name}: {field}", theirs, f"{_shown(ours)} as in {first}: one experiment")
        for field, (ours, theirs) in differences(_code(reference), _code(tree)).items():
            raise InputError(f"{name}: {field}", theirs, f"{_shown(ours)} as in {first}")
        data, expected = (one["data"].to_dataset() for one in (tree, reference))
        for variable in ("x", "y", "split"):
            if not np.array_equal(data[variable].values, expected[variable].values):
                raise InputError(f"{name}: data", variable, f"the same points as in {first}; this {variable} differs")
        _check_measured(first, reference["ensemble"].to_dataset(), name, tree["ensemble"].to_dataset())
    for name, spec in theories.items():
        for field, (ours, theirs) in differences(theory or {}, spec or theory or {}).items():
            raise InputError(f"{name}: theory.{field}", theirs, f"{_shown(ours)} as in the other results, or no theory")


def _check_measured(first: str, reference: xr.Dataset, name: str, ensemble: xr.Dataset) -> None:
    """That the same was measured at the same times, which fields left to their defaults decide with the theory."""
    for label in ("time", "kernel_point"):
        ours, theirs = (list(one[label].values.tolist()) if label in one else [] for one in (reference, ensemble))
        if ours != theirs:
            raise InputError(f"{name}: ensemble/{label}", theirs, f"{shortened(ours)} as in {first}")
    have, has = ({str(one) for one in group if str(one).endswith(_MERGED)} for group in (reference, ensemble))
    for variable in sorted(have ^ has):
        where, other = (first, name) if variable in have else (name, first)
        raise InputError("results", other, f"a result with the variable ensemble/{variable}, which {where} has")


_MERGED = ("_mean", "_third_moment", "_group_sum")
"""Ends of the names of variables that all merged results have to have."""


def _compared(tree: xr.DataTree) -> dict[str, Any]:
    """The experiment without what may differ."""
    spec = experiment_of(tree)
    ensemble = {name: value for name, value in spec["ensemble"].items() if name not in _OWN}
    return {name: value for name, value in spec.items() if name not in (*WORDS, "theory")} | {"ensemble": ensemble}


def _code(tree: xr.DataTree) -> dict[str, Any]:
    """What trained the networks: plugins with their versions, and the formulas that these state."""
    plugins = json.loads(tree.attrs.get("plugins", "{}"))
    return {"plugins": plugins, "model_conventions": tree.attrs.get("model_conventions")}


def _shown(value: Any) -> str:
    return "nothing" if value is NOTHING else repr(value)


def _check_distinct(results: Mapping[str, xr.DataTree]) -> None:
    owner: dict[tuple[int, int], str] = {}
    for name, tree in results.items():
        for source in sources(tree):
            for width in source["widths"]:
                other = owner.setdefault((source["seed"], width), name)
                if other != name:
                    expected = f"other seeds or widths than {other}, which has networks of width {width} and this seed"
                    raise InputError(f"{name}: ensemble.seed", source["seed"], expected)


# --- moments, groups and counts ---


def _merged_tallies(results: Mapping[str, xr.DataTree]) -> dict[int, Tally]:
    """By width in the order in which they first appear."""
    tallies: dict[int, Tally] = {}
    for name, tree in results.items():
        for width, tally in _tallies(name, tree):
            tallies[width] = tallies[width].merged(tally) if width in tallies else tally
    return tallies


def _tallies(name: str, tree: xr.DataTree) -> Iterator[tuple[int, Tally]]:
    group = tree["ensemble"].to_dataset()
    names = [str(one).removesuffix("_mean") for one in group.data_vars if str(one).endswith("_mean")]
    if "group_members" not in group or any(f"{one}_third_moment" not in group for one in names):
        expected = "a result with third moments and sums of groups, as fwdmft writes since schema_version 2.1"
        raise InputError("results", name, f"{expected}: compute it again")
    samples = experiment_of(tree)["ensemble"]["samples"]
    for i, width in enumerate(group.width.values.tolist()):
        yield width, _tally(group.isel(width=i), names, samples)


def _tally(group: xr.Dataset, names: Sequence[str], samples: int) -> Tally:
    """The tally that the ensemble of one width came from."""
    members, diverged = int(group["members"]), int(group["diverged_members"])
    count = members - diverged
    counts = group["group_members"].values.astype(int)
    sums = [str(one).removesuffix("_group_sum") for one in group.data_vars if str(one).endswith("_group_sum")]
    traces = {
        name: group[f"member_{name}"].values[:count] for name in ("loss", "accuracy") if f"member_{name}" in group
    }
    kept = [group["sample_prediction"].values[: min(samples, count)]] if "sample_prediction" in group else []
    return Tally(
        chunk=members,
        members=members,
        samples=samples,
        done=members,
        diverged=diverged,
        seconds=float(group["seconds"]),
        moments={name.removeprefix(SUBSET): _moments(group, name, count) for name in names},
        groups={name: GroupSums(counts, _summed(name, group[f"{name}_group_sum"].values)) for name in sums},
        kept=kept,
        traces={name: [values] for name, values in traces.items()},
    )


def _moments(group: xr.Dataset, name: str, count: int) -> Moments:
    parts = ("mean", "variance", "variance_standard_error", "third_moment")
    return Moments.of_central(count, *(_time_first(group[f"{name}_{part}"]) for part in parts))


def _time_first(variable: xr.DataArray) -> np.ndarray:
    """As the engine has it, (time, ...); a quantity between two times is stored as the engine has it."""
    moved = "time" in variable.dims and "time_prime" not in variable.dims
    return (variable.transpose("time", ...) if moved else variable).values


def _summed(name: str, stored: np.ndarray) -> np.ndarray:
    """Undoes what `fwdmft.results.build` does to the sums of a symmetric kernel."""
    if name != "last_feature_kernel":
        return stored
    points = int((2 * stored.shape[-1]) ** 0.5)
    full = np.zeros((*stored.shape[:-1], points, points))
    rows, columns = np.triu_indices(points)
    full[..., rows, columns] = stored
    full[..., columns, rows] = stored
    return full


# --- what the merged result is made of ---


def _dataset(tree: xr.DataTree) -> Dataset:
    data = tree["data"].to_dataset()
    return Dataset(data["x"].values, data["y"].values, data["split"].values == "train")


def _observed(tree: xr.DataTree, dataset: Dataset) -> _Observed:
    ensemble = tree["ensemble"].to_dataset()
    some = "kernel_point" in ensemble.dims
    at = ensemble["kernel_point"].values if some else np.arange(len(dataset.y))
    loss = experiment_of(tree)["loss"]
    spec: LossSpec = _installed("loss", loss["kind"]).spec.model_validate(loss)
    return _Observed(spec, dataset.y, dataset.train, ensemble.time.values, len(at) if some else None, at)


def _known(tree: xr.DataTree) -> dict[str, Observable]:
    """What can be observed of the networks."""
    spec = experiment_of(tree)
    architecture: Architecture = _installed("architecture", spec["architecture"]["kind"])
    added = {name: _installed("observable", name).observable for name in spec.get("observables", ())}
    return OBSERVABLES | METRICS | dict(architecture.observables) | added


def _installed(section: str, kind: str) -> Any:
    """What is registered of the experiment, which another machine may have run. Raises InputError."""
    try:
        return registry().get(section, kind)
    except InputError as missing:
        raise InputError(f"experiment.{section}", kind, missing.expected) from None


def _attributes(
    results: Mapping[str, xr.DataTree], origin: xr.DataTree, statistics: Sequence[WidthStatistics]
) -> dict[str, Any]:
    first = next(iter(results.values()))
    spec = experiment_of(first)
    every = spec["ensemble"].get("save_every") or (spec.get("theory") or {}).get("save_every") or 1
    spec["theory"] = experiment_of(origin).get("theory")
    spec["ensemble"] |= {
        "save_every": every,
        "widths": [one.width for one in statistics],
        "members": [one.members for one in statistics],
    }
    every_source = [source for tree in results.values() for source in sources(tree)]
    history = "\n".join(dict.fromkeys(tree.attrs["history"] for tree in results.values()))
    return {str(name): value for name, value in first.attrs.items()} | {
        "experiment": json.dumps(spec),
        SOURCES: json.dumps(every_source),
        "history": f"{history}\nensembles merged, seeds {sorted({source['seed'] for source in every_source})}",
    }
