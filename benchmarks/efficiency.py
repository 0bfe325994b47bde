"""Processor seconds to reach a given error, theory against the best brute force: `python benchmarks/efficiency.py`.

q to 1 %, Sigma to 3 % and b to 20 % (or `--errors Q SIGMA B`), of f and of the diagonal of K at four times t > 0. An
error is the rms over times and points of the standard error, over the rms of the quantity; the worse of f and K counts.

Brute force (`brute_force.py`): networks of two or three tiny widths, extrapolated in 1/N:

    E q_N = q + b/N + ...     N Var q_N = Sigma + ...     estimate = sum_N w_N y_N, w from the polynomial through them

A pilot measures, for each width, processor seconds c_N per member and the standard deviation s_N of y_N per member. To
reach an error costs least with M_N proportional to |w_N| s_N / sqrt(c_N) members, namely (sum |w_N| s_N sqrt(c_N))^2
over its square. Of all sets of widths the cheapest counts whose remaining error of extrapolation is below half the
target: its distance from a polynomial of one order more fitted to all widths of the pilot, less what noise explains.
Choosing costs brute force nothing here. One allocation per setting is then run repeatedly, as a check.

Theory: `fwdmft.run` twice in one process. The second run counts, less what JAX still compiles in it. Its neurons, draws
and widths are those that reach the default errors, more of them for other errors (`asked`); what is left is scaled by
(error reached / target)^2, errors being those that the result states. Bounds are flops over the measured rate of matrix
products, of networks (float32), and of sample neurons (float64) and draws (float32) together (`flop_bounds`).
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from brute_force import Ensemble, Moments, Problem, check, network_flops
from flop_bounds import rate, theory_bound
from scaling import COMPILING

import fwdmft
from fwdmft.errors import FwdmftWarning

TARGETS = ("q", "Sigma", "b")
OBSERVABLES = ("f", "K")


class Setting(NamedTuple):
    """A problem, as `brute_force` and as fwdmft take it, the pilot's widths, and how many times cheaper the theory is
    to be for each target. The steps end with the last kept time, and `save_every` keeps these."""

    problem: Problem
    architecture: dict[str, Any]
    save_every: int
    widths: tuple[int, ...]
    goals: tuple[float, float, float]


def points(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((3, *shape))


Y = np.array([1.0, -1.0, 0.5])
IMAGES = {"kind": "cnn", "depth": 2, "activation": "tanh", "padding": "circular", "readout": "global_average"}
SETTINGS = {
    "two layers": Setting(
        Problem("deep", 1, points(10), Y, 2, 0.05, 1.0, (8, 16, 24, 30)),
        {"kind": "mlp", "activation": "tanh"},
        8,
        (4, 8, 16, 32, 64, 128),
        (30, 10, 300),
    ),
    "depth 3": Setting(
        Problem("deep", 3, points(10), Y, 2, 0.05, 1.0, (6, 12, 18, 24)),
        {"kind": "deep", "depth": 3, "activation": "tanh"},
        6,
        (8, 16, 24, 32, 64),
        (10, 3, 3),
    ),
    "cnn": Setting(
        Problem("cnn", 2, points(4, 4, 1), Y, 2, 0.5, 1.0, (3, 6, 9, 10)), IMAGES, 3, (4, 8, 16, 32), (10, 3, 3)
    ),
}

DEFAULT = {"q": 0.01, "Sigma": 0.03, "b": 0.2}
"""Errors that `THEORY` reaches, about."""

THEORY: dict[tuple[str, str], dict[str, Any]] = {
    ("two layers", "q"): {"neurons": 1024, "replicates": 4},
    ("two layers", "Sigma"): {"neurons": 4096, "replicates": 2},
    ("two layers", "b"): {"neurons": 512, "replicates": 4},
    ("depth 3", "q"): {"neurons": 512, "replicates": 4, "basis_tolerance": 1e-4},
    ("depth 3", "Sigma"): {"neurons": 512, "replicates": 4, "draws": 6144, "draw_width": 8},
    ("depth 3", "b"): {"neurons": 1024, "replicates": 4, "draws": 2048, "draw_width": 16},
    ("cnn", "q"): {"neurons": 256, "replicates": 4, "basis_tolerance": 1e-3},
    ("cnn", "Sigma"): {"neurons": 128, "replicates": 4, "draws": 4096, "draw_width": 4, "basis_tolerance": 1e-2},
    ("cnn", "b"): {"neurons": 512, "replicates": 4, "draws": 1024, "draw_width": 16, "basis_tolerance": 1e-3},
}
"""Fields of the experiment's theory by setting and target. What a target does not need is left out of the run."""

NEEDED: dict[str, dict[str, Any]] = {"q": {"fluctuations": False, "bias": False}, "Sigma": {"bias": False}, "b": {}}


# --- brute force ---


class Pilot(NamedTuple):
    """One target at each width: y, its standard deviation per member (width, observable, entry), processor seconds per
    member and members; relative errors of y, by which fits weigh; value (observable, entry) fitted to all, its rms."""

    widths: tuple[int, ...]
    y: np.ndarray
    deviation: np.ndarray
    seconds: np.ndarray
    members: np.ndarray
    spread: np.ndarray
    value: np.ndarray
    size: np.ndarray


class Choice(NamedTuple):
    """Members and weights of widths, and their cost; by observable, relative to the rms: error, what extrapolation
    leaves, and the noise in knowing that."""

    members: dict[int, int]
    weights: np.ndarray
    seconds: float
    error: np.ndarray
    left: np.ndarray
    noise: np.ndarray


def rms(values: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return np.sqrt(np.mean(np.square(values), axis=-1))


def polynomial(widths: Sequence[int], target: str, order: int, deviation: np.ndarray | float = 1.0) -> np.ndarray:
    """Weights of the widths in the first (q, Sigma) or second (b) coefficient of a polynomial in 1/N fitted to them."""
    design = np.vander(1 / np.array(widths), order + 1, increasing=True)
    scale = np.broadcast_to(1 / np.asarray(deviation), len(widths))
    return np.linalg.pinv(design * scale[:, None], rcond=1e-12)[int(target == "b")] * scale


def estimates(width: int, m: Moments, target: str) -> tuple[np.ndarray, np.ndarray]:
    """y and its standard deviation per member."""
    if target == "Sigma":
        return width * m.second, width * np.sqrt(m.fourth - m.second**2)
    return m.mean, np.sqrt(m.second)


def pilot(measured: dict[int, tuple[Moments, float]], target: str) -> Pilot:
    """From moments and seconds per member by width."""
    widths = tuple(measured)
    pairs = [estimates(n, m, target) for n, (m, _) in measured.items()]
    y, deviation = (np.stack(each) for each in zip(*pairs, strict=True))
    members = np.array([m.members for m, _ in measured.values()])
    spread = np.mean(rms(deviation) / rms(y[-1]), axis=1) / np.sqrt(members)
    value = np.tensordot(polynomial(widths, target, 2, spread), y, axes=1)
    seconds = np.array([each for _, each in measured.values()])
    return Pilot(widths, y, deviation, seconds, members, spread, value, rms(value))


def allocation(p: Pilot, chosen: tuple[int, ...], target: str, error: float) -> Choice:
    """The cheapest members of the `chosen` widths with this error in both observables."""
    at = [p.widths.index(n) for n in chosen]
    weights = polynomial(chosen, target, len(chosen) - 1)
    variance = (weights[:, None] * rms(p.deviation[at]) / p.size) ** 2
    best = np.inf, np.zeros(len(at))
    for mix in np.linspace(0, 1, 41):
        share = np.sqrt(variance @ [mix, 1 - mix] / p.seconds[at])
        members = np.ceil(share * np.max((1 / share) @ variance) / error**2)
        best = min(best, (float(members @ p.seconds[at]), members), key=lambda each: each[0])
    off = -polynomial(p.widths, target, len(chosen), p.spread)
    off[at] += weights
    noise = np.mean(np.tensordot(off**2 / p.members, p.deviation**2, axes=1), axis=1) / p.size**2
    left = (rms(np.tensordot(off, p.y, axes=1)) / p.size) ** 2 - noise
    reached = np.sqrt((1 / best[1]) @ variance)
    members = dict(zip(chosen, best[1].astype(int).tolist(), strict=True))
    return Choice(members, weights, best[0], reached, np.sqrt(np.maximum(left, 0)), np.sqrt(noise))


def cheapest(p: Pilot, target: str, error: float) -> Choice:
    """Of all pairs and triples of widths that extrapolate well enough; if none does, the one that does best."""
    sets = [each for k in (2, 3) for each in itertools.combinations(p.widths, k)]
    choices = [allocation(p, each, target, error) for each in sets]
    fit = [c for c in choices if np.max(c.left) < error / 2]
    return min(fit, key=lambda c: c.seconds) if fit else min(choices, key=lambda c: float(np.max(c.left)))


def run_choice(problem: Problem, p: Pilot, c: Choice, target: str, repeats: int) -> tuple[np.ndarray, float]:
    """Distance from the pilot's value, rms over repetitions, by observable; and processor seconds of one."""
    ensembles = [Ensemble(problem, n, members) for n, members in c.members.items()]
    off = []
    for repeat in range(repeats):
        each = [e(c.members[e.width], seed=1 + repeat) for e in ensembles]
        y = [estimates(e.width, m, target)[0] for e, m in zip(ensembles, each, strict=True)]
        off.append(np.tensordot(c.weights, np.stack(y), axes=1) - p.value)
    seconds = sum(e.seconds / e.members * c.members[e.width] for e in ensembles)
    return rms(np.moveaxis(off, 0, 1).reshape(2, -1)) / p.size, seconds


# --- theory ---


class Reached(NamedTuple):
    """Processor seconds of the second run, and of the first on top; errors by observable relative to the rms, seconds
    at the speed of flops, seconds of parts."""

    seconds: float
    start: float
    error: np.ndarray
    bound: float
    parts: dict[str, float]


def asked(name: str, target: str, error: float) -> dict[str, Any]:
    """Fields of the theory for this error, from those for the default one.

    Errors fall like draws^(-1/2), and about like 1 / neurons. What the next order leaves falls like n^-2 of Sigma and
    like 1/n of b; n stays one of 4, 8, 16, ...
    """
    tighter = DEFAULT[target] / error
    powers = {"neurons": 1.0, "draws": 2.0, "draw_width": {"q": 0.0, "Sigma": 0.5, "b": 1.0}[target]}
    least = {"neurons": 128, "draws": 256, "draw_width": 4}
    fields = dict(THEORY[name, target])
    for field in powers.keys() & fields.keys():
        factor = 2.0 ** round(powers[field] * np.log2(tighter))
        fields[field] = max(least[field], int(fields[field] * factor))
    return fields


def run_twice(setting: Setting, settings: dict[str, Any]) -> tuple[float, float, xr.DataTree]:
    """Processor seconds of a second run of fwdmft, less what JAX compiles in it; of the first on top; its result."""
    p = setting.problem
    mapping = {
        "name": "efficiency",
        "architecture": setting.architecture,
        "parameterization": {"kind": "mean_field", "gamma0": p.gamma0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": p.rate, "steps": p.times[-1] + 1},
        "data": {"kind": "file", "path": "points.npz"},
        "theory": {"save_every": setting.save_every, "covariance": False} | settings,
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of q that comes from draws, which the table does not mind.
        warnings.simplefilter("ignore", FwdmftWarning)
        np.savez(Path(folder) / "points.npz", x=p.x, y=p.y[:, None], train=p.train)
        loaded = fwdmft.load_experiment(mapping, base=folder)
        mark = time.process_time()
        fwdmft.run(loaded)
        first = time.process_time() - mark
        COMPILING.reset()
        mark, began = time.process_time(), time.perf_counter()
        result = fwdmft.run(loaded)
        seconds = time.process_time() - mark
        # JAX tells seconds of the clock, of which a busy machine gives us a share.
        seconds -= COMPILING.total * min(1.0, seconds / (time.perf_counter() - began))
    return seconds, first - seconds, result


def theory(setting: Setting, target: str, settings: dict[str, Any], rates: dict[str, float]) -> Reached | str:
    """fwdmft on the setting, or the message with which it refuses."""
    p = setting.problem
    try:
        seconds, start, result = run_twice(setting, NEEDED[target] | settings)
    except fwdmft.ComputationError as refusal:
        return f"refused: {refusal}"
    values, diagnostics = result["theory"].to_dataset(), result["diagnostics"].to_dataset()
    assert tuple(values.time.values[1:]) == p.times
    error = errors(values, {"q": "", "Sigma": "_variance", "b": "_bias"}[target])
    return Reached(seconds, start, error, theory_bound(p, diagnostics, settings, rates), parts(diagnostics))


def errors(values: xr.Dataset, suffix: str) -> np.ndarray:
    def kept(name: str) -> np.ndarray:
        v = values[name].values[1:]
        return v[:, :, 0].ravel() if v.ndim == 3 else np.einsum("tpp->tp", v[:, :, 0, :, 0]).ravel()

    names = f"prediction{suffix}", f"tangent_kernel{suffix}"
    return np.array([rms(kept(f"{name}_standard_error")) / rms(kept(name)) for name in names])


def parts(diagnostics: xr.Dataset) -> dict[str, float]:
    """Processor seconds of parts, as far as the result states them."""
    return {str(name)[8:]: float(v) for name, v in diagnostics.items() if str(name).startswith("seconds_")}


# --- report ---


def measure(setting: Setting, seconds: float) -> dict[int, tuple[Moments, float]]:
    """The pilot: so many processor seconds for each width."""
    computed = {}
    for width in setting.widths:
        moments = (ensemble := Ensemble(setting.problem, width))(seconds=seconds)
        each = ensemble.seconds / ensemble.members
        print(f"  N = {width:4d}: {1e3 * each:8.5f} ms a member ({moments.members})", flush=True)
        computed[width] = moments, each
    return computed


def percent(values: np.ndarray) -> str:
    return " ".join(f"{o} {v:.2%}" for o, v in zip(OBSERVABLES, values, strict=True))


def report(name: str, a: argparse.Namespace, rates: dict[str, float]) -> list[str]:
    """Lines of the table of one setting."""
    setting, rows, p = SETTINGS[name], [], SETTINGS[name].problem
    print(f"{name}: a step and K by hand differ from automatic differentiation by {check(p):.1e}")
    measured = measure(setting, a.pilot)
    for target, error, goal in zip(TARGETS, a.errors, setting.goals, strict=True):
        at = pilot(measured, target)
        c = cheapest(at, target, error)
        words = ", ".join(f"{members} of {n}" for n, members in c.members.items())
        print(f"  {target}: {words}: {c.seconds:.4f} s, error {percent(c.error)}", end="; ")
        print(f"extrapolation leaves {percent(c.left)} (noise {percent(c.noise)})", flush=True)
        if target == a.check:
            repeats = int(np.clip(a.pilot / c.seconds, 2, 16))
            off, spent = run_choice(p, at, c, target, repeats)
            print(f"    run {repeats} times: error {percent(off)}, {spent:.4f} s each", flush=True)
        bound = sum(m * network_flops(p, n) for n, m in c.members.items()) / rates["float32"]
        row = f"{name:11s}{target:6s}{error:5.0%} {c.seconds:9.4f} {bound:8.4f}  {words:38s}"
        ours = None if a.brute_force_only else theory(setting, target, asked(name, target, error), rates)
        if isinstance(ours, Reached):
            reached = float(np.max(ours.error))
            scaled = ours.seconds * (reached / error) ** 2
            print(f"    theory {ours.seconds:.2f} s, error {percent(ours.error)}; start and compilation", end=" ")
            print(f"{ours.start:.1f} s; parts {ours.parts}", flush=True)
            limit = ours.bound * (reached / error) ** 2
            row += f"{ours.seconds:8.2f} {reached:7.2%} {scaled:9.3f} {limit:8.4f} {c.seconds / scaled:8.2g}"
        elif ours:
            print(f"    {ours}", flush=True)
        rows.append(f"{row}   (goal {goal})")
    return rows


def apart(processes: int) -> None:
    """Every setting in a process of its own, with the options of this one, so many at a time."""

    def one(name: str) -> str:
        words = [sys.executable, *sys.argv, "--only", name]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout

    with ThreadPoolExecutor(processes) as pool:
        for computed in pool.map(one, SETTINGS):
            print(computed, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=SETTINGS, help="one setting")
    parser.add_argument("--quick", action="store_true", help="a pilot of a fifth of the time")
    parser.add_argument("--errors", type=float, nargs=3, default=tuple(DEFAULT.values()), metavar=("Q", "SIGMA", "B"))
    parser.add_argument("--pilot", type=float, default=10.0, help="processor seconds for each width")
    parser.add_argument("--check", choices=TARGETS, default="Sigma", help="whose allocation is run")
    parser.add_argument("--brute-force-only", action="store_true")
    parser.add_argument("--processes", type=int, default=1, help="settings at a time, each in a process of its own")
    a = parser.parse_args()
    if a.processes > 1 and not a.only:
        apart(a.processes)
        return
    a.pilot /= 5 if a.quick else 1
    rates = {dtype: rate(dtype) for dtype in ("float32", "float64")}
    speeds = ", ".join(f"{d} {r / 1e9:.0f} GF per processor second" for d, r in rates.items())
    print(f"{fwdmft.__file__}; matrix products: {speeds}")
    rows = [row for name in ([a.only] if a.only else SETTINGS) for row in report(name, a, rates)]
    print("\nProcessor seconds. scaled: theory at the target, seconds (error / target)^2; ratio: networks over scaled")
    head = f"{'':23s}{'networks':>9s} {'bound':>8s}  {'members of N':38s}{'theory':>8s} {'error':>7s}"
    print(f"{head} {'scaled':>9s} {'bound':>8s} {'ratio':>8s}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
