"""Random small experiments for hypothesis; `broken_experiments` has those with one thing broken.

An experiment is small so that it computes in seconds: few points, few steps, few neurons. Most of the time is spent
compiling, a new program for each new shape.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from hypothesis import strategies as st

ACTIVATIONS = ("linear", "tanh", "erf", "relu", "softplus", "gelu")


@dataclass(frozen=True)
class Points:
    """x (point, feature), (point, step, feature) or (point, height, width, channel), y (point, output), train
    (point,); steps are the tokens of transformers."""

    x: np.ndarray
    y: np.ndarray
    train: np.ndarray

    def write(self, path: Path) -> None:
        axes = {2: ("feature",), 3: ("step", "feature"), 4: ("height", "width", "channel")}[self.x.ndim]
        split = np.where(self.train, "train", "test")
        variables = {"x": (("point", *axes), self.x), "y": (("point", "output"), self.y), "split": ("point", split)}
        xr.Dataset(variables).to_netcdf(path)

    def take(self, order: Any) -> Points:
        return Points(self.x[order], self.y[order], self.train[order])


@dataclass(frozen=True)
class Trial:
    """Sections of an experiment, and the points of `data.nc` where it reads them from there.

    broken: the field that is wrong, "" where none is.
    """

    sections: dict[str, Any]
    points: Points | None = None
    broken: str = ""

    def write(self, folder: Path) -> Path:
        """The experiment file in this folder, beside its data."""
        if self.points is not None:
            self.points.write(folder / "data.nc")
        path = folder / "experiment.yaml"
        path.write_text(yaml.safe_dump(self.sections, sort_keys=False))
        return path

    def with_fields(self, **changes: Any) -> Trial:
        """Dots in names are written as two underscores; a value of None takes the field away."""
        sections = copy.deepcopy(self.sections)
        for name, value in changes.items():
            place, *parts = sections, *name.split("__")
            for part in parts[:-1]:
                place = place.setdefault(part, {})
            place[parts[-1]] = value
            if value is None:
                del place[parts[-1]]
        return replace(self, sections=sections)

    def __str__(self) -> str:
        written = dict(self.sections)
        if self.points is not None:
            written["data.nc"] = {name: values.tolist() for name, values in vars(self.points).items()}
        return yaml.safe_dump(written, sort_keys=False, default_flow_style=None, width=120)


def log_uniform(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of three digits, evenly spread over their logarithm."""
    return st.floats(math.log(low), math.log(high)).map(lambda a: float(f"{math.exp(a):.3g}"))


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Or not given."""
    return st.none() | strategy


def fields(**given: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping without the fields that are None."""
    return st.fixed_dictionaries(given).map(lambda d: {name: value for name, value in d.items() if value is not None})


KINDS = ("mlp", "deep", "cnn", "recurrent", "transformer")


@st.composite
def architectures(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> dict[str, Any]:
    kind = draw(st.sampled_from(kinds))
    activated = {
        "kind": st.just(kind),
        "activation": st.sampled_from(ACTIVATIONS),
        "scale": sometimes(log_uniform(0.2, 5)),
        "gain": sometimes(log_uniform(0.5, 2)),
        "bias": sometimes(log_uniform(0.1, 1)),
    }
    if kind == "mlp":
        return draw(fields(**activated))
    if kind == "recurrent":
        return draw(fields(**activated, readout=sometimes(st.sampled_from(["last", "mean"]))))
    if kind == "transformer":
        del activated["bias"]
        many = {"heads": st.just("infinite"), "key_size": st.sampled_from([1, 2, 4])}
        return draw(
            fields(
                **activated,
                **(many if draw(st.booleans()) else {}),
                scores=sometimes(st.sampled_from(["softmax", "linear"])),
                causal=sometimes(st.booleans()),
                mlp=sometimes(st.booleans()),
                branch_scale=sometimes(log_uniform(0.3, 1)),
            )
        )
    depth = draw(st.integers(2, 3) if kind == "deep" else st.integers(1, 2))
    branch = draw(sometimes(log_uniform(0.3, 1)))
    common = activated | {"depth": st.just(depth), "branch_scale": st.just(branch)}
    if kind == "deep":
        ratios = st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=depth, max_size=depth)
        frozen = st.lists(st.integers(0, depth), max_size=depth, unique=True)
        return draw(
            fields(
                **common,
                width_ratios=sometimes(ratios) if branch is None else st.none(),
                frozen=sometimes(frozen),
                normalization=sometimes(st.sampled_from(["none", "layer", "rms"])),
                gate=sometimes(st.booleans()),
            )
        )
    plain = branch is None
    return draw(
        fields(
            **common,
            kernel_size=st.integers(1, 3),
            padding=sometimes(st.sampled_from(["zeros", "circular"])),
            readout=sometimes(st.sampled_from(["flatten", "global_average"])),
            stride=sometimes(st.integers(1, 2)) if plain else st.none(),
            pooling=sometimes(st.sampled_from(["none", "average"])) if plain else st.none(),
        )
    )


@st.composite
def parameterizations(draw: st.DrawFn, depth: int, online: bool) -> dict[str, Any]:
    weights = sometimes(log_uniform(0.5, 2) | st.lists(log_uniform(0.5, 2), min_size=depth + 1, max_size=depth + 1))
    if not online and draw(st.integers(0, 3)) == 0:
        return draw(fields(kind=st.just("neural_tangent"), sigma_w=weights))
    center = st.just(False) if online else sometimes(st.booleans())
    return draw(fields(kind=st.just("mean_field"), gamma0=log_uniform(1e-3, 10), center=center, sigma_w=weights))


def schedules() -> st.SearchStrategy[dict[str, Any]]:
    factor = log_uniform(0.1, 1)
    piecewise = st.lists(st.integers(1, 6), min_size=1, max_size=2, unique=True).flatmap(
        lambda steps: fields(
            kind=st.just("piecewise"),
            boundaries=st.just(sorted(steps)),
            factors=st.lists(factor, min_size=len(steps), max_size=len(steps)),
        )
    )
    return (
        st.just({"kind": "constant"})
        | fields(kind=st.just("cosine"), final=sometimes(factor), warmup=sometimes(st.integers(0, 3)))
        | fields(kind=st.just("exponential"), rate=factor)
        | piecewise
    )


@st.composite
def optimizers(draw: st.DrawFn, train: int, lazy: bool) -> dict[str, Any]:
    steps, rate = st.integers(1, 5), log_uniform(1e-3, 0.5)
    decay = st.none() if lazy else sometimes(log_uniform(1e-3, 0.3))
    if draw(st.integers(0, 3)) == 0:
        return draw(fields(kind=st.just("gradient_flow"), learning_rate=rate, steps=steps, weight_decay=decay))
    batch = draw(sometimes(fields(size=st.integers(1, train), seed=sometimes(st.integers(0, 9)))))
    by_epoch = batch is not None and draw(st.booleans())
    return draw(
        fields(
            kind=st.just("gradient_descent"),
            learning_rate=rate,
            steps=st.none() if by_epoch else steps,
            epochs=st.just(1) if by_epoch else st.none(),
            momentum=sometimes(log_uniform(0.1, 0.9)),
            weight_decay=decay,
            schedule=sometimes(schedules()),
            batch=st.just(batch),
        )
    )


@st.composite
def online_optimizers(draw: st.DrawFn, train: int) -> dict[str, Any]:
    size = draw(st.integers(1, train))
    return draw(
        fields(
            kind=st.just("gradient_descent"),
            learning_rate=log_uniform(1e-3, 0.3),
            steps=st.integers(1, train // size),
            momentum=sometimes(log_uniform(0.1, 0.9)),
            batch=st.just({"size": size}),
            data=st.just("online"),
        )
    )


def weights_depth(architecture: dict[str, Any]) -> int:
    """Matrices of a list sigma_w besides input weights and readout, and one more."""
    if architecture["kind"] == "transformer":
        return 4 + (architecture.get("heads", 1) != 1) + architecture.get("mlp", True)
    return 2 if architecture["kind"] == "recurrent" else architecture.get("depth", 1)


def shapes(kind: str) -> st.SearchStrategy[tuple[int, ...]]:
    """Of a point."""
    few = st.integers(1, 2)
    if kind == "cnn":
        return few.map(lambda channels: (3, 3, channels))
    if kind in ("recurrent", "transformer"):
        return st.tuples(st.integers(1, 3), few)
    return st.integers(1, 4).map(lambda features: (features,))


@st.composite
def points(draw: st.DrawFn, kind: str, loss: str = "squared_error", least: int = 1) -> Points:
    """Gaussian inputs for an architecture of this kind, with targets that suit the loss."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    train, test = draw(st.integers(least, 3)), draw(st.integers(0, 2))
    outputs = draw(st.integers(2 if loss == "softmax_cross_entropy" else 1, 3))
    shape = draw(shapes(kind))
    x, y = rng.standard_normal((train + test, *shape)), rng.standard_normal((train + test, outputs))
    targets = {
        "squared_error": lambda: y,
        "logistic": lambda: np.where(y > 0, 1.0, -1.0),
        "softmax_cross_entropy": lambda: np.exp(y) / np.exp(y).sum(axis=1, keepdims=True),
    }
    return Points(x, targets[loss](), rng.permutation(train + test) < train)


def random_inputs(train: int) -> st.SearchStrategy[dict[str, Any]]:
    teacher = st.sampled_from(
        [
            {"kind": "linear"},
            {"kind": "single_index", "link": "tanh"},
            {"kind": "single_index", "link": "hermite", "degree": 2},
            {"kind": "polynomial", "coefficients": [0.5, 1.0]},
        ]
    )
    return fields(
        kind=st.sampled_from(["gaussian", "sphere"]),
        features=st.integers(2, 4),
        train=st.just(train),
        test=st.integers(1, 2),
        outputs=sometimes(st.integers(1, 2)),
        teacher=sometimes(teacher),
        noise=sometimes(log_uniform(0.1, 1)),
        seed=sometimes(st.integers(0, 10**6)),
    )


DIGITS = {"kind": "digits", "train": 2, "test": 1, "resolution": 2}


@st.composite
def theories(draw: st.DrawFn) -> dict[str, Any]:
    corrections = st.just({"fluctuations": False, "bias": False}) | fields(
        draws=st.integers(32, 64),
        draw_width=st.sampled_from([4, 8]),
        fluctuations=sometimes(st.booleans()),
        bias=sometimes(st.booleans()),
        covariance=sometimes(st.booleans()),
    )
    rest = fields(
        neurons=st.sampled_from([64, 100, 256]),
        replicates=st.just(2),
        save_every=sometimes(st.integers(1, 3)),
        seed=sometimes(st.integers(0, 10**6)),
        basis_tolerance=sometimes(log_uniform(1e-8, 1e-3)),
        two_time=sometimes(st.booleans()),
    )
    return draw(rest) | draw(corrections)


@st.composite
def ensembles(draw: st.DrawFn, train: int) -> dict[str, Any]:
    widths = draw(st.lists(st.sampled_from([8, 12, 16]), min_size=1, max_size=2, unique=True))
    members = st.integers(2, 5)
    return draw(
        fields(
            widths=st.just(widths),
            members=members | st.lists(members, min_size=len(widths), max_size=len(widths)),
            seed=sometimes(st.integers(0, 10**6)),
            save_every=sometimes(st.integers(1, 3)),
            precision=sometimes(st.sampled_from(["float32", "float64"])),
            kernels=sometimes(st.booleans()),
            kernel_points=sometimes(st.integers(1, train)),
            predictions=sometimes(st.sampled_from(["auto", "every", "last"])),
            samples=sometimes(st.integers(0, 3)),
        )
    )


@st.composite
def valid(draw: st.DrawFn) -> Trial:
    """An experiment that the schemas allow. Few of its combinations are refused, each with its reason."""
    architecture = draw(architectures())
    kind = architecture["kind"]
    images, flat = kind == "cnn", kind in ("mlp", "deep")
    online = flat and draw(st.integers(0, 4)) == 0
    loss = draw(
        fields(
            kind=st.sampled_from(["squared_error", "squared_error", "logistic", "softmax_cross_entropy"]),
            reduction=sometimes(st.sampled_from(["sum", "mean"])),
        )
    )
    if online:
        loss["kind"] = "squared_error"
    given = None
    if loss["kind"] == "squared_error" and (online or (images or flat) and draw(st.booleans())):
        data = {**DIGITS, "resolution": 4 if images else 2} if not online and images else draw(random_inputs(4))
        train = data["train"]
    else:
        given = draw(points(kind, loss["kind"]))
        data, train = {"kind": "file", "path": "data.nc"}, int(given.train.sum())
    parameterization = draw(parameterizations(weights_depth(architecture), online))
    lazy = parameterization["kind"] == "neural_tangent"
    sections = {
        "name": "random",
        "architecture": architecture,
        "parameterization": parameterization,
        "optimizer": draw(online_optimizers(train) if online else optimizers(train, lazy)),
        "loss": loss,
        "data": data,
    }
    halves = draw(st.sampled_from(["theory", "theory", "both", "ensemble"]))
    if halves != "ensemble":
        sections["theory"] = draw(theories())
    if halves != "theory":
        ensemble = sections["ensemble"] = draw(ensembles(train))
        if online:
            ensemble.pop("kernel_points", None)
        if sections["optimizer"]["kind"] == "gradient_flow" and ensemble.get("predictions") == "last":
            del ensemble["predictions"]
    return Trial(sections, given)
