"""Valid random experiments with one thing broken, for hypothesis."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from strategies import Points, Trial, valid

MISSING = "(left out)"
"""In place of a value: the field is left out."""

NOT_POSITIVE: tuple[Any, ...] = (0, -1, math.nan, math.inf, 1e300, "one", True, [1, "x"], {})
NEGATIVE: tuple[Any, ...] = (-1, math.nan, -math.inf, "none", True, [0.1])
NOT_A_COUNT: tuple[Any, ...] = (0, -1, 1.5, math.nan, 10**30, "ten", True, [2])
NOT_A_SECTION: tuple[Any, ...] = (3, "tanh", [], {"kind": "nobody"}, {})

WRONG: dict[str, tuple[Any, ...]] = {
    "name": (MISSING, "", 3, None, ["a"]),
    "architecture": (MISSING, *NOT_A_SECTION),
    "architecture.kind": (MISSING, "resnet", 3, None),
    "architecture.activation": ("swish", 3, None),
    "architecture.scale": NOT_POSITIVE,
    "architecture.gain": (math.nan, "one", True, 1e300),
    "architecture.bias": NEGATIVE,
    "architecture.depth": (MISSING, 10**6, *NOT_A_COUNT),
    "architecture.width_ratios": ([1.0] * 7, [0.0], "wide"),
    "architecture.frozen": ([-1], [9], "all"),
    "architecture.key_size": NOT_A_COUNT,
    "architecture.heads": (2, 0, "many"),
    "architecture.kernel_size": NOT_A_COUNT,
    "architecture.padding": ("mirror",),
    "parameterization": NOT_A_SECTION,
    "parameterization.gamma0": NOT_POSITIVE,
    "parameterization.sigma_w": (0, -1, math.nan, [1.0] * 7, []),
    "parameterization.center": ("perhaps", 2),
    "optimizer": (MISSING, *NOT_A_SECTION),
    "optimizer.learning_rate": (MISSING, *NOT_POSITIVE),
    "optimizer.steps": NOT_A_COUNT,
    "optimizer.epochs": NOT_A_COUNT,
    "optimizer.momentum": (1, -0.1, math.nan, "heavy"),
    "optimizer.weight_decay": NEGATIVE,
    "optimizer.schedule": (
        *NOT_A_SECTION,
        {"kind": "exponential"},
        {"kind": "exponential", "rate": 2},
        {"kind": "piecewise", "boundaries": [3, 2], "factors": [1, 1]},
        {"kind": "piecewise", "boundaries": [3], "factors": []},
        {"kind": "cosine", "warmup": -1},
    ),
    "optimizer.batch": ({"size": 0}, {"size": 10**6}, {}, 3),
    "loss": NOT_A_SECTION,
    "loss.kind": (MISSING, "hinge"),
    "loss.reduction": ("max", None),
    "data": (MISSING, *NOT_A_SECTION),
    "data.path": (MISSING, "nowhere.nc", "data.txt", "", 3),
    "data.features": NOT_A_COUNT,
    "data.train": NOT_A_COUNT,
    "data.noise": NEGATIVE,
    "data.seed": (-1, 1.5, 2**32, "now"),
    "theory.neurons": NOT_A_COUNT,
    "theory.replicates": (1, *NOT_A_COUNT),
    "theory.relative_error": (1, *NOT_POSITIVE),
    "theory.draws": (1, *NOT_A_COUNT),
    "theory.save_every": NOT_A_COUNT,
    "theory.two_time": ("both", 2),
    "ensemble.widths": (MISSING, [], [8, 8], [0], 16, "wide", [8.5]),
    "ensemble.members": (1, [3, 3, 3], [], *NOT_A_COUNT),
    "ensemble.precision": ("float16", 32),
    "ensemble.kernel_points": NOT_A_COUNT,
    "ensemble.diverged_share": (-0.1, 1.5, math.nan),
    "ensemble.samples": (-1, 1.5, "few"),
}
"""By field, what it cannot be. A section that the experiment lacks is left alone."""

REQUIRED_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "architecture.depth": ("architecture", ("deep", "cnn")),
    "architecture.width_ratios": ("architecture", ("deep",)),
    "architecture.frozen": ("architecture", ("deep",)),
    "architecture.key_size": ("architecture", ("transformer",)),
    "architecture.heads": ("architecture", ("transformer",)),
    "architecture.kernel_size": ("architecture", ("cnn",)),
    "architecture.padding": ("architecture", ("cnn",)),
    "parameterization.gamma0": ("parameterization", ("mean_field",)),
    "parameterization.center": ("parameterization", ("mean_field",)),
    "optimizer.momentum": ("optimizer", ("gradient_descent",)),
    "optimizer.schedule": ("optimizer", ("gradient_descent",)),
    "optimizer.batch": ("optimizer", ("gradient_descent",)),
    "data.path": ("data", ("file",)),
    "data.features": ("data", ("gaussian", "sphere")),
    "data.noise": ("data", ("gaussian", "sphere")),
    "data.train": ("data", ("gaussian", "sphere", "digits")),
    "data.seed": ("data", ("gaussian", "sphere", "digits")),
}
"""Fields that some kinds of a section have only."""


def _can_break(sections: dict[str, Any], field: str) -> bool:
    section, kinds = REQUIRED_BY.get(field, ("", ()))
    if field in ("optimizer.steps", "optimizer.epochs"):
        return field.partition(".")[2] in sections["optimizer"]
    parent = field.rpartition(".")[0]
    return (not kinds or sections[section]["kind"] in kinds) and (not parent or parent in sections)


@st.composite
def invalid(draw: st.DrawFn) -> Trial:
    """A valid experiment with one thing broken: a field, an unknown field, or the points."""
    trial = draw(valid())
    way = draw(st.sampled_from(["field", "field", "field", "unknown", "points"]))
    if way == "points" and trial.points is not None:
        return draw(_broken_points(trial, trial.points))
    if way == "unknown":
        section = draw(st.sampled_from(sorted(k for k, v in trial.sections.items() if isinstance(v, dict))))
        return replace(trial.with_fields(**{f"{section}__colour": "red"}), broken=f"{section}.colour")
    field = draw(st.sampled_from([field for field in WRONG if _can_break(trial.sections, field)]))
    value = draw(st.sampled_from(WRONG[field]))
    sections = copy.deepcopy(trial.sections)
    place = sections
    *parents, last = field.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is MISSING:
        del place[last]
    return replace(trial, sections=sections, broken=field)


@st.composite
def _broken_points(draw: st.DrawFn, trial: Trial, given: Points) -> Trial:
    x, y, train = given.x.copy(), given.y.copy(), given.train.copy()
    ways = ["nan x", "large x", "infinite y", "no training point"]
    loss = trial.sections["loss"]["kind"]
    way = draw(st.sampled_from([*ways, "targets"] if loss != "squared_error" else ways))
    if way == "nan x":
        x[0] = math.nan
    elif way == "large x":
        x[0] = 1e30
    elif way == "infinite y":
        y[0] = math.inf
    elif way == "targets":
        y[0] = 0.3
        y[0, 0] = -0.2
    else:
        train[:] = False
    broken = {"nan x": "data.x", "large x": "data.x", "no training point": "data"}.get(way, "data.y")
    return replace(trial, points=Points(x, y, train), broken=broken)
