"""What is known of an ensemble at one width so far: plain sums that can be put down and taken up again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fwdmft.networks.statistics import Moments

Arrays = dict[str, np.ndarray]


@dataclass
class Tally:
    """Members 0 .. done - 1 of one width, `diverged` of them left out of all sums.

    chunk: members per chunk, fixed when the ensemble is begun: sums, and the rounding of a compiled program, depend
    on it, so one that is resumed must go on with it. samples: how many members' predictions are kept one by one.
    seconds: time spent, in all runs together.
    """

    chunk: int
    samples: int
    done: int = 0
    diverged: int = 0
    seconds: float = 0.0
    moments: dict[str, Moments] = field(default_factory=dict)
    kept: list[np.ndarray] = field(default_factory=list)

    def add(self, seen: Mapping[str, np.ndarray]) -> None:
        """Take in the observables (member, time, ...) of the next members."""
        finite = np.isfinite(seen["prediction"]).all(axis=(1, 2, 3))
        self.done += len(finite)
        self.diverged += int(np.sum(~finite))
        for name, values in seen.items():
            self.moments.setdefault(name, Moments()).add(values[finite])
        self.kept.append(seen["prediction"][finite][: self.samples - sum(map(len, self.kept))])

    def arrays(self) -> Arrays:
        """The tally as arrays by name; `Tally.of` undoes this to the last bit."""
        numbers = {name: np.asarray(getattr(self, name)) for name in _NUMBERS}
        sums = {f"{name}/{part}": a for name, m in self.moments.items() for part, a in m.arrays().items()}
        return numbers | sums | ({"kept": np.concatenate(self.kept)} if self.kept else {})

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Tally":
        """The tally that `arrays` was made from."""
        parts: dict[str, Arrays] = {}
        for key in arrays:
            name, _, part = key.rpartition("/")
            if name:
                parts.setdefault(name, {})[part] = arrays[key]
        return cls(
            **{name: arrays[name].item() for name in _NUMBERS},
            moments={name: Moments.of(each) for name, each in parts.items()},
            kept=[arrays["kept"]] if "kept" in arrays else [],
        )


_NUMBERS = ("chunk", "samples", "done", "diverged", "seconds")
