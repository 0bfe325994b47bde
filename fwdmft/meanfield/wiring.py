"""What a chain of layers is made of besides its local maps: sizes, scales, positions, which weights are trained."""

from dataclasses import dataclass

from jaxtyping import Array

from fwdmft.meanfield.gaussian_matrix import Law
from fwdmft.meanfield.positions import POINT, Taps


@dataclass(frozen=True)
class Wiring:
    """What a chain is made of besides its local maps.

    sigma_w: initial standard deviations of input weights, matrices and readout (depth + 1). sigma_b: scale of biases.
    widths: n_l of each layer. branch: beta of a residual chain, None for a plain one. trained: which of the weights
    (depth + 1) are; a layer's bias goes with the weights below it. center: report and train f(t) - f(0).
    pools: what is averaged over after each layer (depth). taps: what the matrix behind each layer but the last reads of
    the pooled positions (depth - 1). Left out: one position everywhere.
    """

    depth: int
    outputs: int
    sigma_w: tuple[float, ...]
    sigma_b: float = 0.0
    widths: tuple[float, ...] = ()
    branch: float | None = None
    trained: tuple[bool, ...] = ()
    center: bool = True
    pools: tuple[Taps, ...] = ()
    taps: tuple[Taps, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", self.widths or (1.0,) * self.depth)
        object.__setattr__(self, "trained", self.trained or (True,) * (self.depth + 1))
        object.__setattr__(self, "pools", self.pools or (POINT,) * self.depth)
        object.__setattr__(self, "taps", self.taps or (POINT,) * (self.depth - 1))
        if self.branch is not None and set(self.widths) != {1.0}:
            raise ValueError(f"layers of a residual chain have one width, not {self.widths}")
        ends = [pool.places for pool in self.pools[:-1]], [pool.sources for pool in self.pools[1:]]
        if ([taps.sources for taps in self.taps], [taps.places for taps in self.taps]) != ends:
            raise ValueError("the positions of pools and taps do not fit together")

    @property
    def beta(self) -> float:
        return 1.0 if self.branch is None else self.branch

    @property
    def positions(self) -> int:
        """Of the first layer."""
        return self.pools[0].sources

    @property
    def read_out(self) -> int:
        """Positions that the readout sees."""
        return self.pools[-1].places

    def population(self, layer: int) -> str:
        """Name of the population to which a layer (0 .. depth - 1) belongs."""
        return f"hidden_{layer + 1}" if self.branch is None else "stream"

    def law(self, matrix: int, tolerance: Array) -> Law:
        """Of the Gaussian matrix behind layer `matrix`."""
        ratio = self.widths[matrix] / self.widths[matrix + 1]
        return Law(self.sigma_w[matrix + 1], ratio, tolerance, self.taps[matrix])

    def blocks(self, points: int) -> list[tuple[int, int]]:
        """Vectors that each matrix acts on at once, forward and backward."""
        return [(points * taps.sources, points * taps.places * self.outputs) for taps in self.taps]

    @property
    def scales(self) -> tuple[float, ...]:
        """The factors of the terms of K."""
        inner = [self.beta**2 * n for n in self.widths[1:]]
        every = (self.widths[0], *inner, 1 / self.widths[-1])
        return tuple(c if trained else 0.0 for c, trained in zip(every, self.trained, strict=True))

    @property
    def reading(self) -> tuple[Taps, ...]:
        """How the weights behind each layer read it: the matrices, and the readout, which has a weight per position."""
        return (*self.taps, Taps(tuple((position,) for position in range(self.read_out)), self.read_out))
