"""Draws of networks of one width: chunk by chunk, side by side, summed by groups, put down in checkpoints."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Shaped

from fwdmft.checkpoint import Checkpoint
from fwdmft.corrections import samples
from fwdmft.corrections.layout import Layout
from fwdmft.corrections.sample_estimates import GROUPS, Estimates, Pairs, Sums, estimates
from fwdmft.corrections.samples import PARTS, Sampler
from fwdmft.engine.infinite_width import Report
from fwdmft.executors import SideBySide, Work

SHARED = 4
"""Groups that a chunk of draws is dealt to, so that the pilot fills all of them."""

_NUMBERS = 1 << 24
"""Numbers that a chunk of draws may hold, about."""

OfDraws = dict[str, Float[np.ndarray, "draw ..."]]
"""Fields of `samples.Draws`, by name."""


class Wanted(NamedTuple):
    """error: stated, relative. asked: which of q, sigma and bias shall have it, bias `LESS_PRECISE` times as much.
    draws, width: None to choose. multiple: what divides the width. covariance: all pairs of times. flops: of a draw,
    about, over its width. double: in double precision."""

    error: float
    asked: tuple[str, ...]
    draws: int | None
    width: int | None
    multiple: int
    covariance: bool
    seed: int
    flops: float
    double: bool = False


@dataclass
class Drawn:
    """Sums over draws by groups, and how many chunks of so many draws are in them."""

    chunk: int
    done: int = 0
    groups: list[Sums] = field(default_factory=lambda: [Sums() for _ in range(GROUPS)])

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)

    def take(self, draws: OfDraws, full: slice | None, pairs: Pairs) -> None:
        """Take in the next chunk: a part of it goes to each of the next `SHARED` groups."""
        for part in range(SHARED):
            some = {name: a[part::SHARED] for name, a in draws.items()}
            self.groups[(SHARED * self.done + part) % GROUPS].add(some, full, pairs)
        self.done += 1

    def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """As arrays by name; `Drawn.of` undoes this to the last bit."""
        arrays = {"chunk": np.asarray(self.chunk), "done": np.asarray(self.done)}
        for i, group in enumerate(self.groups):
            arrays[f"{i}/count"] = np.asarray(group.count)
            arrays |= {f"{i}/{name}": a for name, a in group.parts.items()}
        return arrays

    @classmethod
    def of(cls, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> "Drawn":
        """The sums that `arrays` was made from."""
        groups = [Sums(int(arrays[f"{i}/count"])) for i in range(GROUPS)]
        for key, a in arrays.items():
            number, _, name = key.partition("/")
            if name and name != "count":
                groups[int(number)].parts[name] = a
        return cls(int(arrays["chunk"]), int(arrays["done"]), groups)


class Drawing:
    """Draws at one width, and what they say so far."""

    def __init__(
        self,
        source: Sampler,
        wanted: Wanted,
        report: Report,
        checkpoint: Checkpoint | None,
        side_by_side: SideBySide,
    ):
        self.source, self.width = source if wanted.double else source.single(), source.width
        self.layout = Layout(samples.observable_shapes(self.source))
        self._wanted, self._report, self._checkpoint = wanted, report, checkpoint
        self._side_by_side = side_by_side
        self._full = self.layout.slices["prediction"] if wanted.covariance else None
        self._part = f"draws-{self.width}"
        stored = None if checkpoint is None else checkpoint.load(self._part)
        self._drawn = Drawn(_chunk(self.layout)) if stored is None else Drawn.of(stored)

    @property
    def count(self) -> int:
        return self._drawn.count

    @property
    def rounding(self) -> float:
        """Of the numbers of draws, relative."""
        return float(np.finfo(np.float64 if self._wanted.double else np.float32).eps)

    def sizes(self, flat: Float[np.ndarray, " observable"]) -> Float[np.ndarray, " observable"]:
        """Every entry replaced by the size of what is alike until the time after its own.

        Centred predictions are differences of averages of order 1 / (gamma0 sqrt(n)), which round even where there is
        nothing to learn: then draws are in double precision.
        """
        sizes = self.layout.sizes(flat, ahead=1)
        if self._wanted.double:
            f = self.layout.slices["prediction"]
            sizes[f] = np.maximum(sizes[f], 1 / (float(self.source.narrow.gamma0) * self.width**0.5))
        return sizes

    def extend(self, count: int) -> Estimates:
        """Estimates from at least so many draws."""
        stage = f"networks of width {self.width} and {PARTS * self.width}"
        for draws in self._draws(count):
            with np.errstate(over="ignore", invalid="ignore"):
                self._drawn.take(draws, self._full, self.layout.pairs)
            if self._checkpoint is not None:
                self._checkpoint.offer(self._part, self._drawn.arrays)
            self._report(stage, min(self.count, count), count)
        # Of networks that diverge, estimates are not finite, which is told from them.
        with np.errstate(over="ignore", invalid="ignore"):
            return estimates(self._drawn.groups, self.width, self._full, self.layout.pairs)

    def tell(self, errors: Mapping[str, float]) -> None:
        """Report the errors reached, of q, sigma and bias."""
        reached = ", ".join(f"{name} {100 * errors[name]:.2g} %" for name in self._wanted.asked)
        self._report(f"{self.count} draws: {reached}", self.count, self.count)

    def _draws(self, count: int) -> Iterator[OfDraws]:
        """Chunk by chunk; as many for every group, if they suffice."""
        chunk = self._drawn.chunk
        chunks = -(-count // chunk)
        if SHARED * chunks >= GROUPS:
            chunks = -(-SHARED * chunks // GROUPS) * GROUPS // SHARED

        numbers = range(self._drawn.done, chunks)
        recipe = partial(_drawing, self.source, self._wanted.seed, self.width, chunk, self._wanted.double)
        flops = len(numbers) * chunk * self.width * self._wanted.flops
        return self._side_by_side(Work(recipe, numbers, flops=flops))


def _drawing(source: Sampler, seed: int, width: int, chunk: int, double: bool) -> Callable[[int], OfDraws]:
    """Makes the draws of a chunk from its number."""

    def drawn(number: int) -> OfDraws:
        # JAX keeps its precision setting per thread.
        with jax.enable_x64(double):
            root = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), width), number)
            of_chunk = samples.draws(source, jax.random.split(root, chunk))
            return {name: np.asarray(a) for name, a in of_chunk._asdict().items()}

    return drawn


def draw_numbers(observables: int) -> int:
    """Numbers that sums over draws take, and the draws under way, for so many observables."""
    return (8 * GROUPS + 2 * 3 * 64) * observables


def _chunk(layout: Layout) -> int:
    """Draws of a chunk, a multiple of 8: they are simulated some at a time."""
    return int(np.clip(_NUMBERS // (3 * layout.size), 8, 64)) // 8 * 8
