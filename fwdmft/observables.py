"""What order parameters are called: the usual ones, what an architecture may declare, what plugins add to all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Array


class Observable(NamedTuple):
    """An order parameter: its name in words, its symbol (LaTeX without dollar signs), and its dimensions.

    `dims` leaves out time, which comes first in the engine's arrays; only the dimensions of a two-time quantity
    contain it and are the axes as they are. What stands before "point" and "output" numbers parts of the network
    (layers, blocks).
    """

    words: str
    symbol: str
    dims: tuple[str, ...]


@dataclass(frozen=True)
class ObservableFunction:
    """An observable of every architecture, a function o(q) of the usual order parameters at one time.

    name: what experiments ask for (`observables: [name]`) and results call it. observable: words, symbol, dimensions.
    function(q, train): o in the shape of these dimensions, () for a number, made of functions of JAX. q: arrays by
    name, "prediction" (point, output) and the kernels of `OBSERVABLES`, at infinite width or of one network. train:
    (point,) mask of the training points, a NumPy array. Networks of width N have o(q_N), so N Var o and the shift of
    its mean are those of any order parameter.
    """

    name: str
    observable: Observable
    function: Callable[[Mapping[str, Array], np.ndarray], Array]


def evaluated(functions: Iterable[ObservableFunction], q: Mapping[str, Array], train: np.ndarray) -> dict[str, Array]:
    """o(q) of each function, by name."""
    return {each.name: each.function(q, train) for each in functions}


OBSERVABLES: dict[str, Observable] = {
    "prediction": Observable("network prediction", "f", ("point", "output")),
    "tangent_kernel": Observable("tangent kernel", "K", ("point", "output", "point_prime", "output_prime")),
    "feature_kernel": Observable("feature kernel", r"\Phi^{\ell}", ("layer", "point", "point_prime")),
    "gradient_kernel": Observable(
        "gradient kernel", r"G^{\ell}", ("layer", "point", "output", "point_prime", "output_prime")
    ),
    "feature_kernel_two_time": Observable(
        "feature kernel between two times",
        r"\Phi^{\ell}(t, t')",
        ("layer", "time", "point", "time_prime", "point_prime"),
    ),
    "gradient_kernel_two_time": Observable(
        "gradient kernel between two times",
        r"G^{\ell}(t, t')",
        ("layer", "time", "point", "output", "time_prime", "point_prime", "output_prime"),
    ),
}

METRICS: dict[str, Observable] = {
    "accuracy": Observable("accuracy", "A", ("split",)),
    "member_feature_alignment": Observable(
        "alignment with the targets over training points of a network's own feature kernel",
        r"A[\Phi^{\ell}]",
        ("layer",),
    ),
    "final_prediction": Observable("network prediction at the last step", "f", ("point", "output")),
}
"""What ensembles measure besides: numbers of every network, and predictions where only the last are kept."""


def parts(dims: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions that number parts of the network."""
    ahead = [dims.index(dim) for dim in ("point", "split") if dim in dims]
    return dims[: min(ahead, default=len(dims))]


_TAKEN_NAMES = (*OBSERVABLES, *METRICS, "loss", "mean_square", "members", "training_rate", "ensembled", "subset")
"""No observable of a plugin has one of these names, or a name that begins with one."""

_TAKEN_DIMS = (
    *("time", "width", "sample", "member", "group", "training_pair", "split", "kernel", "kernel_point"),
    *("time_prime", "layer_prime", "output_prime", "point_prime", "kernel_prime", "kernel_point_prime"),
)
"""Dimensions of results that are neither parts of a network nor entries of what is observed of a single point."""


def problem_with(declared: object) -> str | None:
    """What was expected of the observables that an architecture declares, or None where they are valid.

    They are quantities of single points: "point" is among their dimensions, pairs of points are not.
    """
    if not isinstance(declared, Mapping):
        return "observables to be a mapping of names to fwdmft.observables.Observable"
    for name, one in declared.items():
        problem = _problem_with_one(name, one)
        if problem is not None:
            return problem
        if "point" not in one.dims:
            return f"point among the dimensions of observable {name!r}"
    return None


def problem_with_function(item: ObservableFunction) -> str | None:
    """What was expected of an observable that a plugin adds to all architectures, or None where it is valid."""
    return _problem_with_one(item.name, item.observable)


def _problem_with_one(name: object, one: object) -> str | None:
    if not (isinstance(name, str) and name.isidentifier()):
        return f"the name {name!r} of an observable to be an identifier"
    if any(f"{name}_".startswith(f"{taken}_") for taken in _TAKEN_NAMES):
        return f"the name {name!r} of an observable not to begin with one that results have already"
    if not isinstance(one, Observable):
        return f"observable {name!r} to be an fwdmft.observables.Observable"
    if not are_dims(one.dims, _TAKEN_DIMS):
        return f"the dimensions of observable {name!r} to be distinct identifiers, none of {', '.join(_TAKEN_DIMS)}"
    return None


def are_dims(names: object, taken: Collection[str]) -> bool:
    """Whether these are distinct names for dimensions, none of which is taken."""
    if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        return False
    return len(set(names)) == len(names) and all(name.isidentifier() and name not in taken for name in names)
