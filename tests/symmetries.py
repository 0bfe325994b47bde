"""Exact symmetries of the theory: two experiments whose results follow from each other.

A symmetry makes of a trial its twin, or None where it does not apply. Both are computed as a user would, and compared:
q, Sigma and b must be equal up to rounding where sample neurons carry the same random numbers in both, and within
standard errors where they carry others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st
from mappings import forget_programs
from strategies import Points, Trial, architectures, fields, log_uniform, points, schedules, sometimes, weights_depth

import fwdmft
from fwdmft.testing.agreement import Estimate, assert_zero

REPLICATES = 8
GROUPS = 16
OBSERVABLES = ("prediction", "feature_kernel", "gradient_kernel", "tangent_kernel")
THEORY = {"neurons": 512, "replicates": REPLICATES, "covariance": False, "relative_error": 0.5}
DRAWN = {"draws": 512, "draw_width": 8}
ENSEMBLE = {"widths": [8], "members": 4, "precision": "float64", "samples": 0}

ROUNDED = 1e-6
"""Rounding of q, which training amplifies, relative to its largest entry."""

SINGLE, SHARE = 1e-3, 0.1
"""Rounding of Sigma and b, relative to the largest entry and to the largest standard error: draws are in float32, and b
is a small difference of theirs."""


@dataclass(frozen=True)
class Twin:
    """The other experiment, and how its results are those of the first one.

    prediction, kernel: factors on f and on kernels. points, outputs: where those of the first are in the other.
    every: one of so many times. alike: sample neurons carry the same numbers. corrections, networks: and Sigma and b
    come of the same numbers as well, trained networks do. rounded: of q, where they are alike. ties: whether vectors
    that bases resolve, or patches of images, may be as large as others, or as a tolerance: then rounding decides which
    neurons carry which numbers, and what is not equal up to rounding is equal within standard errors.
    """

    trial: Trial
    prediction: float = 1.0
    kernel: dict[str, float] = field(default_factory=dict)
    points: np.ndarray | None = None
    outputs: np.ndarray | None = None
    every: int = 1
    alike: bool = True
    corrections: bool = True
    networks: bool = True
    rounded: float = ROUNDED
    ties: bool = False


Symmetry = Callable[[Trial, np.random.Generator], Twin | None]


@st.composite
def regular(draw: st.DrawFn) -> Trial:
    """Experiments of several points that train stably, so that little amplifies rounding."""
    architecture = draw(architectures())
    images = architecture["kind"] == "cnn"
    if images and "branch_scale" not in architecture:
        architecture |= {"depth": 1}  # strides leave too few pixels for more
    depth = weights_depth(architecture)
    weights = sometimes(st.lists(log_uniform(0.7, 1.5), min_size=depth + 1, max_size=depth + 1))
    given = draw(points(architecture["kind"], least=2))
    train = int(given.train.sum())
    optimizer = draw(
        fields(
            kind=st.sampled_from(["gradient_descent", "gradient_descent", "gradient_flow"]),
            learning_rate=log_uniform(0.01, 0.1),
            steps=st.integers(2, 4),
            weight_decay=sometimes(log_uniform(1e-2, 0.3)),
        )
    )
    if optimizer["kind"] == "gradient_descent":
        batch = fields(size=st.integers(1, train))
        optimizer |= draw(
            fields(momentum=sometimes(st.just(0.5)), schedule=sometimes(schedules()), batch=sometimes(batch))
        )
    sections = {
        "name": "regular",
        "architecture": architecture,
        "parameterization": draw(
            fields(
                kind=st.just("mean_field"), gamma0=log_uniform(0.1, 3), center=sometimes(st.booleans()), sigma_w=weights
            )
        ),
        "optimizer": optimizer,
        "loss": {"kind": "squared_error", "reduction": draw(st.sampled_from(["sum", "mean"]))},
        "data": {"kind": "file", "path": "data.nc"},
        "theory": THEORY | (DRAWN if draw(st.booleans()) or not _responds(architecture) else {}),
        "ensemble": dict(ENSEMBLE),
    }
    if optimizer["kind"] == "gradient_flow":
        optimizer |= {"tolerance": 1e-6}
        # With kinks, the stated error says how closely the limit is reached: well within the error of so few neurons.
        sections["theory"] |= {"relative_error": 0.02} if architecture["activation"] == "relu" else {}
    return Trial(sections, given)


def _responds(architecture: dict[str, Any]) -> bool:
    """Whether Sigma and b come from linear response unless draws are asked for."""
    return architecture["kind"] == "mlp" and architecture["activation"] != "relu"


def _plain(trial: Trial) -> bool:
    """Whether there are no hidden matrices. Their bases take the largest of what is left of the vectors first, so that
    neurons may carry other numbers where vectors come in another order, or at other times."""
    architecture = trial.sections["architecture"]
    return architecture["kind"] in ("mlp", "deep", "cnn") and architecture.get("depth", 1) == 1


def _equal_patches(trial: Trial) -> bool:
    """Whether all patches of an image hold the same numbers, in other orders."""
    kind, padding, size = (trial.sections["architecture"].get(name) for name in ("kind", "padding", "kernel_size"))
    return (kind, padding) == ("cnn", "circular") and (size or 3) >= max(_points(trial).x.shape[1:3])


def _points(trial: Trial) -> Points:
    assert trial.points is not None
    return trial.points


def _times(trial: Trial, name: str, factor: float) -> float:
    section, key = name.split("__")
    return trial.sections[section][key] * factor


def small_targets_are_large_richness(trial: Trial, rng: np.random.Generator) -> Twin:
    """(y, gamma0) -> (s y, gamma0 / s): f -> s f, kernels stay."""
    s = 10.0 ** -float(rng.integers(1, 7))
    given = _points(trial)
    other = trial.with_fields(parameterization__gamma0=_times(trial, "parameterization__gamma0", 1 / s))
    return Twin(replace(other, points=replace(given, y=s * given.y)), prediction=s)


def shorter_intervals_of_gradient_flow(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """eta -> eta / m, m times as many steps; both reach the limit to their tolerance only, or to the noise of kinks."""
    if trial.sections["optimizer"]["kind"] != "gradient_flow":
        return None
    m = int(rng.integers(2, 4))
    steps, rate = trial.sections["optimizer"]["steps"], _times(trial, "optimizer__learning_rate", 1 / m)
    other = trial.with_fields(optimizer__learning_rate=rate, optimizer__steps=m * (steps - 1) + 1)
    rounded = 10 * trial.sections["optimizer"]["tolerance"]
    alike = _plain(trial) and trial.sections["architecture"]["activation"] != "relu"
    return Twin(other, every=m, alike=alike, corrections=False, networks=False, rounded=rounded)


def relu_has_no_scale(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """relu(a h) / a = relu(h), and a h / a = h.

    Rounding turns principal components of about equal strength, of which control variates of draws are made.
    """
    if trial.sections["architecture"]["activation"] not in ("relu", "linear"):
        return None
    scale = trial.sections["architecture"].get("scale", 1.0) * 10 ** float(rng.uniform(-2, 2))
    return Twin(trial.with_fields(architecture__scale=scale), corrections=False)


def a_gain_is_a_richness(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Two layers with c phi at gamma0, eta, lambda are those with phi at gamma0 / c, c^2 eta, lambda / c^2.

    Control variates of draws, products of features among them, then have other relative sizes.
    """
    if trial.sections["architecture"]["kind"] != "mlp":
        return None
    c = float(rng.uniform(0.5, 2))
    other = trial.with_fields(
        architecture__gain=trial.sections["architecture"].get("gain", 1.0) / c,
        parameterization__gamma0=_times(trial, "parameterization__gamma0", 1 / c),
        optimizer__learning_rate=_times(trial, "optimizer__learning_rate", c**2),
        optimizer__weight_decay=trial.sections["optimizer"].get("weight_decay", 0.0) / c**2,
    )
    return Twin(other, kernel=dict.fromkeys(OBSERVABLES[1:], c**-2), corrections=False)


def large_inputs_are_large_weights(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Inputs times c, input weights divided by c and not trained."""
    sections = trial.sections
    if sections["architecture"]["kind"] != "deep" or 0 not in sections["architecture"].get("frozen", []):
        return None
    c, given, depth = 10 ** float(rng.uniform(-2, 2)), _points(trial), sections["architecture"]["depth"]
    first, *others = sections["parameterization"].get("sigma_w", [1.0] * (depth + 1))
    other = trial.with_fields(parameterization__sigma_w=[first / c, *others])
    return Twin(replace(other, points=replace(given, x=c * given.x)))


def inputs_can_be_rotated(trial: Trial, rng: np.random.Generator) -> Twin:
    """By an orthogonal matrix, among channels in images."""
    given = _points(trial)
    features = given.x.shape[-1]
    rotation = np.linalg.qr(rng.standard_normal((features, features)))[0]
    return Twin(replace(trial, points=replace(given, x=given.x @ rotation)), networks=False)


def zero_features_can_be_added(trial: Trial, rng: np.random.Generator) -> Twin:
    """With inputs times sqrt(D' / D)."""
    given, more = _points(trial), int(rng.integers(1, 4))
    features = given.x.shape[-1]
    wider = np.concatenate([given.x, np.zeros((*given.x.shape[:-1], more))], axis=-1)
    return Twin(replace(trial, points=replace(given, x=wider * ((features + more) / features) ** 0.5)), networks=False)


def a_bias_is_a_constant_input(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Of two layers: one more feature sigma_b sqrt(D + 1), where the others are times sqrt((D + 1) / D).

    Weights of the inputs must then start with the variance of biases, which is one.
    """
    sections = trial.sections
    first = sections["parameterization"].get("sigma_w", [1.0])[0]
    bias = sections["architecture"].get("bias", 0.0)
    if sections["architecture"]["kind"] != "mlp" or first != 1 or not bias:
        return None
    given = _points(trial)
    features = given.x.shape[1]
    x = np.concatenate([given.x / features**0.5, np.full((len(given.x), 1), bias)], axis=1)
    other = trial.with_fields(architecture__bias=None)
    return Twin(replace(other, points=replace(given, x=x * (features + 1) ** 0.5)), networks=False)


def points_have_no_order(trial: Trial, rng: np.random.Generator) -> Twin:
    """But that of the training points, which minibatches refer to."""
    given = _points(trial)
    order = rng.permutation(len(given.x))
    if trial.sections["optimizer"].get("batch"):
        trained = given.train[order]
        order[trained] = np.sort(order[trained])
    return Twin(
        replace(trial, points=given.take(order)),
        points=np.argsort(order),
        alike=_plain(trial),
        corrections=_plain(trial),
    )


def outputs_have_no_order(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Neurons then carry other numbers in the place of an output's."""
    given = _points(trial)
    outputs = given.y.shape[1]
    if outputs == 1:
        return None
    order = np.roll(np.arange(outputs), 1)
    return Twin(
        replace(trial, points=replace(given, y=given.y[:, order])),
        outputs=np.argsort(order),
        alike=False,
        corrections=False,
        networks=False,
    )


def a_test_point_can_be_repeated(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Neurons then carry other numbers, as principal directions of the points change."""
    given = _points(trial)
    if given.train.all():
        return None
    order = np.append(np.arange(len(given.x)), np.flatnonzero(~given.train)[0])
    return Twin(replace(trial, points=given.take(order)), points=order[:-1], alike=False, corrections=False)


def every_point_can_be_repeated(trial: Trial, rng: np.random.Generator) -> Twin | None:
    """Under the mean of losses. Control variates of draws, products of features among them, are then more."""
    if trial.sections["optimizer"].get("batch") or trial.sections["loss"]["reduction"] == "sum":
        return None
    given = _points(trial)
    order = np.tile(np.arange(len(given.x)), 2)
    return Twin(
        replace(trial, points=given.take(order)),
        points=np.arange(len(given.x)),
        alike=_plain(trial),
        corrections=False,
    )


def a_mean_is_a_sum_at_a_smaller_rate(trial: Trial, rng: np.random.Generator) -> Twin:
    """The mean over P points at eta, lambda is the sum at eta / P, P lambda."""
    optimizer = trial.sections["optimizer"]
    count = (optimizer.get("batch") or {"size": int(_points(trial).train.sum())})["size"]
    summed = trial.sections["loss"]["reduction"] == "sum"
    factor = count if summed else 1 / count
    return Twin(
        trial.with_fields(
            loss__reduction="mean" if summed else "sum",
            optimizer__learning_rate=optimizer["learning_rate"] * factor,
            optimizer__weight_decay=optimizer.get("weight_decay", 0.0) / factor,
        )
    )


def a_batch_of_all_is_no_batch(trial: Trial, rng: np.random.Generator) -> Twin | None:
    if trial.sections["optimizer"]["kind"] == "gradient_flow" or trial.sections["optimizer"].get("batch"):
        return None
    return Twin(trial.with_fields(optimizer__batch={"size": int(_points(trial).train.sum()), "seed": 1}))


SYMMETRIES: tuple[Symmetry, ...] = (
    small_targets_are_large_richness,
    shorter_intervals_of_gradient_flow,
    relu_has_no_scale,
    a_gain_is_a_richness,
    large_inputs_are_large_weights,
    inputs_can_be_rotated,
    zero_features_can_be_added,
    a_bias_is_a_constant_input,
    points_have_no_order,
    outputs_have_no_order,
    a_test_point_can_be_repeated,
    every_point_can_be_repeated,
    a_mean_is_a_sum_at_a_smaller_rate,
    a_batch_of_all_is_no_batch,
)


def compute(trial: Trial, folder: Path) -> xr.DataTree:
    folder.mkdir(exist_ok=True)
    return fwdmft.run(fwdmft.load_experiment(trial.write(folder)))


def outcome_of_twins(trial: Trial, folder: Path) -> str:
    """Which symmetries hold. Raises AssertionError with all that do not."""
    try:
        tree = compute(trial, folder)
    except fwdmft.ComputationError as error:
        return f"not computed: {error}"
    broken, held = [], 0
    for symmetry in SYMMETRIES:
        if (twin := symmetry(trial, np.random.default_rng(0))) is None:
            continue
        try:
            twin = replace(twin, ties=not _plain(trial) or _equal_patches(trial))
            check_twin(tree, compute(twin.trial, folder / "twin"), twin)
            held += 1
        except Exception as error:
            broken.append(f"{symmetry.__name__}: {type(error).__name__}: {error}")
        forget_programs()
    assert not broken, "\n".join(broken)
    return f"{held} symmetries hold, {trial.sections['architecture']['kind']}"


def check_twin(tree: xr.DataTree, other: xr.DataTree, twin: Twin) -> None:
    """Raises AssertionError where a result is not what the symmetry makes of the other."""
    theory, seen = tree["theory"], other["theory"]
    for name in OBSERVABLES:
        factor = twin.prediction if name == "prediction" else twin.kernel.get(name, 1.0)
        for suffix, power, samples in (("", 1, REPLICATES), ("_variance", 2, GROUPS), ("_bias", 1, GROUPS)):
            whole = name + suffix
            if whole not in theory:
                continue
            first, second = (
                Estimate.of(values, error, samples)
                for values, error in (
                    (_back(each[whole], one), _back(each[f"{whole}_standard_error"], one))
                    for each, one in ((theory, None), (seen, twin))
                )
            )
            second, size = second * factor**-power, float(np.max(np.abs(first.value)))
            alike = twin.alike if suffix == "" else twin.corrections
            error = float(np.max(np.sqrt(first.squared_errors[0])))
            # What is zero exactly is rounding of the predictions or kernels.
            least = float(np.finfo(float).eps * np.max(np.abs(theory[name])) ** power)
            rounded = twin.rounded * size if suffix == "" else max(SINGLE * size, SHARE * error, least)
            if alike and not (twin.ties and _apart(second.value, first.value) > rounded):
                _assert_close(whole, second.value, first.value, rounded)
            else:
                assert_zero(whole, second - first, size)
        if twin.networks and "ensemble" in tree.children:
            first, second = tree["ensemble"][f"{name}_mean"], other["ensemble"][f"{name}_mean"]
            size = float(np.max(np.abs(first)))
            _assert_close(f"{name} of networks", _back(second, twin) / factor, _back(first, None), ROUNDED * size)


def _assert_close(name: str, second: np.ndarray, first: np.ndarray, tolerance: float) -> None:
    assert (difference := _apart(second, first)) <= tolerance, (
        f"{name} differs by {difference:.3g}, expected at most {tolerance:.2g}"
    )


def _apart(second: np.ndarray, first: np.ndarray) -> float:
    return float(np.max(np.abs(second - first)))


def _back(values: xr.DataArray, twin: Twin | None) -> np.ndarray:
    """Of the twin's results those that the first experiment has, in its order."""
    if twin is None:
        return values.values
    chosen: dict[str, Any] = {"time": slice(None, None, twin.every)}
    for dim, order in (("point", twin.points), ("output", twin.outputs)):
        if order is not None:
            chosen |= {dim: order, f"{dim}_prime": order}
    return values.isel(chosen, missing_dims="ignore").values
