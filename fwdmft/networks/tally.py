"""What is known of an ensemble at one width so far: plain sums that can be put down and taken up again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Shaped

from fwdmft.networks.statistics import GroupSums, Moments

Arrays = dict[str, Shaped[np.ndarray, "..."]]
OfMembers = Mapping[str, Float[np.ndarray, "member ..."]]

GROUPS = 16
"""Groups that members are dealt into, one after the other, for standard errors by the jackknife."""

TRACED = 64 << 20
"""Bytes up to which a metric of every single member is kept."""

_TRACES = ("loss", "accuracy")


@dataclass
class Tally:
    """Members 0 .. done - 1 of one width, `diverged` of them left out of all sums.

    chunk: members per chunk, fixed when the ensemble is begun: sums, and the rounding of a compiled program, depend
    on it, so one that is resumed must go on with it. members: how many there will be. samples: how many members'
    predictions are kept one by one. seconds: time spent, in all runs together. groups: sums over the members of each
    group, of what standard errors are computed from. traces: metrics of the members one by one.
    """

    chunk: int
    members: int
    samples: int
    done: int = 0
    diverged: int = 0
    seconds: float = 0.0
    moments: dict[str, Moments] = field(default_factory=dict)
    groups: dict[str, GroupSums] = field(default_factory=dict)
    kept: list[Float[np.ndarray, "_member time point output"]] = field(default_factory=list)
    traces: dict[str, list[Float[np.ndarray, "_member time split"]]] = field(default_factory=dict)

    def add(self, seen: OfMembers, grouped: OfMembers) -> None:
        """Take in the observables (member, time, ...) of the next members, and what is summed by groups."""
        finite = _finite(seen)
        group = np.arange(self.done, self.done + len(finite))[finite] % GROUPS
        self.done += len(finite)
        self.diverged += int(np.sum(~finite))
        for name, values in seen.items():
            self.moments.setdefault(name, Moments()).add(values[finite])
        for name, values in grouped.items():
            self.groups.setdefault(name, GroupSums(np.zeros(GROUPS, int))).add(values[finite], group)
        for name in _TRACES:
            if name in seen and seen[name][0].nbytes * self.members <= TRACED:
                self.traces.setdefault(name, []).append(seen[name][finite])
        if "prediction" in seen:
            self.kept.append(seen["prediction"][finite][: self.samples - sum(map(len, self.kept))])

    def merged(self, other: "Tally") -> "Tally":
        """The tally of the members of both, those of the other after ours; both are complete and of one task."""
        members = self.members + other.members
        kept = np.concatenate([*self.kept, *other.kept])[: self.samples] if self.kept and other.kept else None
        traces = {name: [*parts, *other.traces[name]] for name, parts in self.traces.items() if name in other.traces}
        return Tally(
            chunk=self.chunk,
            members=members,
            samples=self.samples,
            done=self.done + other.done,
            diverged=self.diverged + other.diverged,
            seconds=self.seconds + other.seconds,
            moments={name: one.merged(other.moments[name]) for name, one in self.moments.items()},
            groups={name: one.merged(other.groups[name], self.done) for name, one in self.groups.items()},
            kept=[] if kept is None else [kept],
            traces={name: parts for name, parts in traces.items() if parts[0][0].nbytes * members <= TRACED},
        )

    def arrays(self) -> Arrays:
        """The tally as arrays by name; `Tally.of` undoes this to the last bit."""
        arrays = {f"number/{name}": np.asarray(getattr(self, name)) for name in _NUMBERS}
        for name, moments in self.moments.items():
            arrays |= {f"moments/{name}/{part}": a for part, a in moments.arrays().items()}
        for name, group in self.groups.items():
            arrays |= {f"groups/{name}/counts": group.counts, f"groups/{name}/sums": np.asarray(group.sums)}
        arrays |= {f"traces/{name}": np.concatenate(parts) for name, parts in self.traces.items()}
        return arrays | ({"kept": np.concatenate(self.kept)} if self.kept else {})

    @classmethod
    def of(cls, arrays: Arrays) -> "Tally":
        """The tally that `arrays` was made from."""
        moments, groups = _nested(arrays, "moments"), _nested(arrays, "groups")
        return cls(
            **{name: arrays[f"number/{name}"].item() for name in _NUMBERS},
            moments={name: Moments.of(parts) for name, parts in moments.items()},
            groups={name: GroupSums(**parts) for name, parts in groups.items()},
            kept=[arrays["kept"]] if "kept" in arrays else [],
            traces={name: [arrays[f"traces/{name}"]] for name in _TRACES if f"traces/{name}" in arrays},
        )


_NUMBERS = ("chunk", "members", "samples", "done", "diverged", "seconds")


def _finite(seen: OfMembers) -> Bool[np.ndarray, " member"]:
    """(member,) whether training converged: losses on the training points (the test points if no training point is
    among those observed) and predictions stay finite."""
    loss = seen["loss"]
    split = 1 if np.isnan(loss[:, 0, 0]).all() else 0
    finite = np.all(np.isfinite(loss[..., split]), axis=1)
    for name in ("prediction", "final_prediction"):
        if name in seen:
            finite &= np.isfinite(seen[name]).reshape(len(finite), -1).all(axis=1)
    return finite


def _nested(arrays: Arrays, kind: str) -> dict[str, Arrays]:
    """The arrays called kind/name/part, by name and part."""
    nested: dict[str, Arrays] = {}
    for key, array in arrays.items():
        first, *rest = key.split("/")
        if first == kind:
            nested.setdefault(rest[0], {})[rest[1]] = array
    return nested
