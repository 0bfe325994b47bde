"""How the theory's cost grows: `python benchmarks/exponents.py` (`--only NAME` for one ladder), about eight minutes.

Five ladders of three sizes each: steps T, points P, neurons S, depth, and the side of images. Every point runs q, Sigma
and b several times in one process, of which the fastest run counts. `q` are its large simulations, `draws` the rest:
256 draws of width 8. Exponents are least-squares slopes of log seconds against log size.

The bound of the large simulations is their flops (`flop_bounds.pass_flops`, with the bases k that they took) over the
measured rate of matrix products: of all replicates, and of the pass that tells what bases leave out. Passes that were
broken off for want of room are in the seconds, not in the bound.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np
from brute_force import Problem
from efficiency import Setting, run_twice
from flop_bounds import pass_flops, rate

REPLICATES = 2
RNG = np.random.default_rng(2)
VECTORS, IMAGES = RNG.standard_normal((16, 16)), RNG.standard_normal((2, 9, 9, 1))
"""Inputs of all points."""
Y = np.where(RNG.random(16) < 0.5, -1.0, 1.0)


class Point(NamedTuple):
    """A problem of some size; what it does not say is that of the middle of all ladders."""

    size: int
    steps: int = 48
    points: int = 6
    neurons: int = 1024
    depth: int = 2
    side: int = 0

    @property
    def setting(self) -> Setting:
        """Images for a side, else vectors; five kept times."""
        x = IMAGES[:, : self.side, : self.side] if self.side else VECTORS[: self.points]
        kind, rest = ("cnn", {"padding": "circular", "readout": "global_average"}) if self.side else ("deep", {})
        times = tuple(range(self.steps // 4, self.steps + 1, self.steps // 4))
        # The step falls as 1/P, so that the speed of training hardly depends on P.
        problem = Problem(kind, self.depth, x, Y[: len(x)], len(x) - 1, 0.2 / len(x), 1.0, times)
        architecture = {"kind": kind, "depth": self.depth, "activation": "tanh", **rest}
        return Setting(problem, architecture, self.steps // 4, (), (0, 0, 0))


LADDERS: dict[str, tuple[Point, ...]] = {
    "T": tuple(Point(steps, steps=steps) for steps in (24, 48, 96)),
    "P": tuple(Point(points, points=points) for points in (4, 8, 16)),
    "S": tuple(Point(neurons, neurons=neurons) for neurons in (1024, 2048, 4096)),
    "depth": tuple(Point(depth, depth=depth) for depth in (2, 3, 4)),
    "side": tuple(Point(side, steps=8, side=side, neurons=2048) for side in (4, 6, 9)),
}


class Cost(NamedTuple):
    """Processor seconds of q and of draws, the bound of q, and S k P."""

    q: float
    draws: float
    bound: float
    load: float


def cost(point: Point, flops: float) -> Cost:
    """flops: per processor second of a product of matrices in double precision."""
    setting = point.setting
    settings: dict[str, Any] = {"neurons": point.neurons, "replicates": REPLICATES, "basis_tolerance": 1e-4}
    settings |= {"draws": 256, "draw_width": 8}
    seconds, _, result = min((run_twice(setting, settings) for _ in range(2)), key=lambda computed: computed[0])
    computed, p = result["diagnostics"].to_dataset(), setting.problem
    q = float(computed["seconds_infinite_width"])
    k = float(computed["basis_rank"].mean()) if "basis_rank" in computed else np.nan
    load = point.neurons * k * len(p.x) * max(1, point.side**2)
    return Cost(q, max(seconds - q, 1e-3), (REPLICATES + 1) * pass_flops(p, computed) / flops, load)


def ladder(name: str, flops: float) -> None:
    sizes, computed = [], []
    for point in LADDERS[name]:
        each = cost(point, flops)
        sizes.append(point.size)
        computed.append(each)
        ratio = f"{each.q / each.bound:9.1f}" if each.bound else f"{'-':>9s}"
        print(
            f"{name:6s}{point.size:6d}{each.q:10.3f}{each.bound:10.3f}{ratio}{each.load:12.2g}{each.draws:10.3f}",
            flush=True,
        )
    slopes = {
        part: np.polyfit(np.log(sizes), np.log([getattr(f, part) for f in computed]), 1)[0] for part in ("q", "draws")
    }
    print(f"{'exponent':12s}{slopes['q']:10.2f}{'':31s}{slopes['draws']:10.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=LADDERS, help="one ladder")
    a = parser.parse_args()
    flops = rate("float64")
    print(f"matrix products: {flops / 1e9:.0f} GF per processor second; processor seconds")
    print(f"{'':12s}{'q':>10s}{'bound':>10s}{'ratio':>9s}{'S k P':>12s}{'draws':>10s}")
    for name in [a.only] if a.only else LADDERS:
        ladder(name, flops)


if __name__ == "__main__":
    main()
