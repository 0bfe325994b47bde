"""Stand-ins for what the engine returns, with the shapes of a real run and an ensemble drawn from the theory.

The theory is made up of smooth curves; the ensemble's statistics are the theory's plus Gaussian noise of
exactly the standard errors they are given, so agreement tests have a known answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from fwdmft.jackknife import Jackknifed
from fwdmft.networks.statistics import GroupSums
from fwdmft.observables import OBSERVABLES
from fwdmft.registry import Architecture, registry
from fwdmft.results.build import result_tree
from fwdmft.results.theory_loss import TheoryLoss

Arrays = dict[str, np.ndarray]
POINTS, TRAINED, DEPTH, STEPS = 6, 4, 2, 21
WIDTHS = (64, 256, 1024)
DIMS = {name: observable.dims for name, observable in OBSERVABLES.items() if "time" not in observable.dims}
TWO_TIME_DIMS = {name: observable.dims for name, observable in OBSERVABLES.items() if "time" in observable.dims}


@dataclass(frozen=True)
class Theory:
    times: np.ndarray
    dims: dict[str, tuple[str, ...]]
    mean: Arrays
    standard_error: Arrays
    variance: Arrays
    variance_standard_error: Arrays
    bias: Arrays
    bias_standard_error: Arrays
    prediction_covariance: np.ndarray | None = None
    equal_time_covariances: np.ndarray | None = None
    layer_covariance: np.ndarray | None = None
    kernel_points: np.ndarray | None = None
    responses: Arrays = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    width: int
    members: int
    diverged: int
    times: np.ndarray
    mean: Arrays
    variance: Arrays
    mean_standard_error: Arrays
    variance_standard_error: Arrays
    sample_prediction: np.ndarray
    seconds: float
    jackknifed: dict[str, Jackknifed] = field(default_factory=dict)
    traces: Arrays = field(default_factory=dict)
    kernel_points: np.ndarray | None = None
    third_moment: Arrays = field(default_factory=dict)
    groups: dict[str, GroupSums] = field(default_factory=dict)


def experiment(title: str = "Stand-in of a result") -> SimpleNamespace:
    dump = (
        '{"name":"stand-in","architecture":{"kind":"deep","depth":2,"activation":"tanh"},'
        '"parameterization":{"kind":"mean_field","gamma0":0.75},'
        '"optimizer":{"kind":"gradient_descent","learning_rate":0.03},'
        '"theory":{"neurons":4096},"ensemble":{"widths":[64,256,1024]}}'
    )
    kind = SimpleNamespace(kind="deep")
    return SimpleNamespace(name="stand-in", title=title, architecture=kind, model_dump_json=lambda: dump)


def architecture(images: bool = False, **parts: Any) -> Architecture:
    return replace(registry().get("architecture", "cnn" if images else "mlp"), **parts)


def dataset(outputs: int = 1, images: bool = False) -> SimpleNamespace:
    random = np.random.default_rng(5)
    x = random.normal(size=(POINTS, 4, 4, 1) if images else (POINTS, 5))
    classes = np.arange(POINTS) % max(outputs, 2)
    y = 2.0 * classes[:, None] - 1 if outputs == 1 else np.eye(outputs)[classes] - 1 / outputs
    origin = {"origin": "made up", "classes": [0, 1]}
    train = np.arange(POINTS) < TRAINED
    facts = {"description": "six made-up points", "attributes": origin, "standardization": None}
    return SimpleNamespace(x=x, y=y, train=train, **facts)


def theory(outputs: int = 1, fluctuations: bool = True, bias: bool = True, two_time: bool = True) -> Theory:
    curves = {name: _curves(name, outputs) for name in DIMS}
    if two_time:
        curves |= {name: _between_times(*curves[name.removesuffix("_two_time")]) for name in TWO_TIME_DIMS}
    mean, sigma, shift = ({name: curves[name][part] for name in curves} for part in range(3))
    covariances = sigma["prediction"][None, :, :, :, None] * np.eye(outputs)
    return Theory(
        times=np.arange(STEPS),
        dims=DIMS | (TWO_TIME_DIMS if two_time else {}),
        mean=mean,
        standard_error={name: np.sqrt(value / 16384) for name, value in sigma.items()} if fluctuations else {},
        variance=sigma if fluctuations else {},
        variance_standard_error={name: 0.005 * value for name, value in sigma.items()} if fluctuations else {},
        bias=shift if bias else {},
        bias_standard_error={name: 0.02 * np.sqrt(value) for name, value in sigma.items()} if bias else {},
        prediction_covariance=_full_covariance(sigma["prediction"]) if fluctuations else None,
        equal_time_covariances=covariances if fluctuations else None,
        layer_covariance=_layer_covariance() if fluctuations else None,
        responses=_responses(outputs) if two_time else {},
        diagnostics={
            "neurons": 16384,
            "seconds": 3.5,
            "basis_rank": np.array([40, 55]),
            "trace": ("time", np.arange(STEPS)),
        },
    )


def _curves(name: str, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, N Var, bias) of one observable, each (T, *dims)."""
    t = np.linspace(0, 1, STEPS)
    y = dataset(outputs).y
    if name == "prediction":
        learned = np.where(np.arange(POINTS) < TRAINED, 0.95, 0.7)[:, None] * y
        grow = (1 - np.exp(-3 * t)).reshape(-1, 1, 1)
        sigma = 0.6 * (t * np.exp(-2 * t)).reshape(-1, 1, 1) * (0.5 + abs(learned))
        return grow * learned, sigma, -0.4 * sigma * np.sign(learned)
    gram = 0.3 + 0.7 * np.eye(POINTS) + 0.2 * np.sign(y @ y.T)
    grow = 1 + 0.8 * t
    kernel = np.multiply.outer(grow, _expand(gram, name, outputs))
    sigma = np.multiply.outer(0.1 + np.exp(-2 * t), 0.4 + 0.2 * abs(_expand(gram, name, outputs)))
    return kernel, sigma, np.multiply.outer(0.3 * t, np.ones(kernel.shape[1:]))


def _expand(gram: np.ndarray, name: str, outputs: int) -> np.ndarray:
    """(P, P) to the dims of kernel `name`: identity over outputs, layers in proportion 1 : 0.6."""
    over_outputs = np.eye(outputs) + 0.1
    joint = gram if name == "feature_kernel" else np.einsum("ij,cd->icjd", gram, over_outputs)
    return joint if name == "tangent_kernel" else np.multiply.outer(0.6 ** np.arange(DEPTH), joint)


def _full_covariance(sigma: np.ndarray) -> np.ndarray:
    root = np.sqrt(sigma)
    return np.multiply.outer(root, root)


def _between_times(*parts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each (T, L, *row, *column) of a kernel as (L, T, *row, T, *column), at equal times what it was."""
    t = np.linspace(0, 1, STEPS)
    memory = np.exp(-(np.subtract.outer(t, t) ** 2))
    collected = []
    for part in parts:
        half = (part.ndim - 2) // 2
        between = np.sqrt(part[:, None] * part) * memory.reshape(STEPS, STEPS, *[1] * (part.ndim - 1))
        collected.append(np.moveaxis(between, (0, 1, 2), (1, 2 + half, 0)))
    return tuple(collected)


def _layer_covariance() -> np.ndarray:
    """(T, 2, L, 2, L), a covariance of features and gradients that grows ever more correlated."""
    random = np.random.default_rng(11)
    apart = np.eye(2 * DEPTH) * np.sqrt(np.arange(1, 2 * DEPTH + 1))
    together = random.normal(size=(2 * DEPTH, 2))
    growth = np.linspace(0.2, 1, STEPS)[:, None, None]
    root = np.concatenate([np.broadcast_to(apart, (STEPS, *apart.shape)), growth * together], axis=-1)
    return (root @ root.swapaxes(1, 2)).reshape(STEPS, 2, DEPTH, 2, DEPTH)


def _responses(outputs: int) -> Arrays:
    """Causal: nothing at time t responds to noise at t or later."""
    gram = np.multiply.outer(np.tri(STEPS, k=-1), 0.3 + np.eye(POINTS) * outputs).swapaxes(1, 2)
    one = np.multiply.outer(np.arange(1, DEPTH), gram)
    return {"feature_response": one, "gradient_response": -0.5 * one}


def ensemble(outputs: int = 1, shift: float = 0.0) -> list[Statistics]:
    """One Statistics a width, drawn from the theory: mean ~ q + b/N, variance ~ Sigma/N, both with errors.

    `shift` moves every mean by that many standard deviations of a single network.
    """
    truth = theory(outputs)
    return [_one_width(truth, width, shift, np.random.default_rng(width)) for width in WIDTHS]


def _one_width(truth: Theory, width: int, shift: float, random: np.random.Generator) -> Statistics:
    members = 1000
    of_theory = np.random.default_rng(3)  # the theory errs alike at all widths
    mean, variance, mean_error, variance_error = {}, {}, {}, {}
    for name in DIMS:
        sigma = truth.variance[name] / width
        mean_error[name] = np.sqrt(sigma / members)
        variance_error[name] = sigma * np.sqrt(2 / (members - 1))
        q = truth.mean[name] + of_theory.normal(size=sigma.shape) * truth.standard_error[name]
        b = truth.bias[name] + of_theory.normal(size=sigma.shape) * truth.bias_standard_error[name]
        noisy = random.normal(size=sigma.shape) * mean_error[name]
        mean[name] = q + b / width + noisy + shift * np.sqrt(sigma)
        wide = np.hypot(variance_error[name], truth.variance_standard_error[name] / width)
        variance[name] = sigma + random.normal(size=sigma.shape) * wide
    loss = loss_curves() * (1 + 40 / width)
    mean["loss"], variance["loss"] = loss, (0.3 * loss) ** 2
    mean_error["loss"], variance_error["loss"] = 0.3 * loss / members**0.5, variance["loss"] * (2 / members) ** 0.5
    sigma = truth.variance["prediction"] / width
    wiggle = np.sqrt(sigma) * random.normal(size=(16, 1, *sigma.shape[1:]))
    samples = (truth.mean["prediction"] + wiggle).astype(np.float32)
    of_task = _of_task(width, random)
    for name, source in (("accuracy", "accuracy"), ("member_feature_alignment", "mean_kernel_alignment")):
        value, error = of_task[source].value, of_task[source].standard_error
        layered = name != "accuracy"
        mean[name], mean_error[name] = (np.stack([a] * DEPTH, axis=1) if layered else a for a in (value, error))
        variance[name], variance_error[name] = members * mean_error[name] ** 2, 0.1 * mean_error[name] ** 2
    moments = mean, variance, mean_error, variance_error
    return Statistics(width, members, 0, truth.times, *moments, samples, 1.5, of_task)


def _of_task(width: int, random: np.random.Generator) -> dict[str, Jackknifed]:
    """What jackknifed statistics of a task look like: narrow networks train slower and gain more from averaging."""
    t = np.linspace(0, 1, STEPS)[:, None]
    scaled = t * (1 - 20 / width)
    trained = 1 - np.exp(-4 * scaled)
    plateau = np.array([0.001, 0.08])
    loss = np.array([2.0, 1.0]) * (np.exp(-6 * scaled) + plateau + 2 * trained / width)
    accuracy = 0.5 + np.array([0.48, 0.4]) * trained
    values = {
        "loss": loss,
        "accuracy": accuracy - 2 * trained / width,
        "ensembled_loss": loss - 2 * trained / width,
        "ensembled_accuracy": accuracy,
        "prediction_relative_variance": np.where(t > 0, 5 / width * (1 + np.tile(trained, 2)), np.nan),
        "mean_kernel_alignment": 0.2 + 0.5 * trained[:, 0],
    }
    return {name: _jackknifed(value, random) for name, value in values.items()}


def _jackknifed(value: np.ndarray, random: np.random.Generator) -> Jackknifed:
    """16 groups that scale the value each by its own factor, close to 1."""
    factors = 1 + 1e-3 * random.normal(size=(16, *[1] * value.ndim))
    return Jackknifed(value, value * factors)


def loss_curves() -> np.ndarray:
    """(T, 2) losses on the training and test points."""
    t = np.linspace(0, 1, STEPS)[:, None]
    return np.array([2.0, 1.0]) * (np.exp(-6 * t) + np.array([0.001, 0.08]))


def _theory_loss(of: Theory) -> TheoryLoss:
    infinite = loss_curves()[of.times]
    shifts = np.stack([infinite * 40 / width for width in WIDTHS])
    bound = 0.001 * infinite
    whole = TheoryLoss(infinite, bound, WIDTHS, infinite + shifts, 0.1 * shifts)
    return whole if of.variance else TheoryLoss(infinite, bound)


def plugins() -> dict[str, tuple[str, str]]:
    """Of the architecture."""
    return {"architecture deep": ("fwdmft_deep", "0.1.0")}


def tree(outputs: int = 1, images: bool = False, **parts: Any) -> xr.DataTree:
    """A whole result; of=Theory or None and networks=[Statistics] or [] replace or leave out a half."""
    of = parts.get("of", theory(outputs))
    networks = parts.get("networks", ensemble(outputs))
    return result_tree(
        experiment(),
        dataset(outputs, images),
        of,
        None if of is None else _theory_loss(of),
        networks,
        {"seconds": 12.0, "device": "cpu", "peak_memory_bytes": 10**9},
        plugins(),
        architecture(images, conventions=parts.get("conventions", ""), observables=parts.get("observables", {})),
    )


def thinned(theory: Theory) -> Theory:
    """At some of the times only, without what compares times."""
    kept = np.array([0, 4, 8, 12, 16, 20])
    parts = ("mean", "standard_error", "variance", "variance_standard_error", "bias", "bias_standard_error")
    single = {part: {name: getattr(theory, part)[name] for name in DIMS} for part in parts}
    arrays = {part: {name: full[kept] for name, full in named.items()} for part, named in single.items()}
    whole = {"prediction_covariance": None, "equal_time_covariances": None, "layer_covariance": None, "responses": {}}
    return replace(theory, times=kept, diagnostics={}, **whole, **arrays)
