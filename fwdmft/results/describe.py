"""What every variable of a result is called in words, which symbol it has, and its unit.

All quantities of the theory are dimensionless (unit "1"): widths, steps and points are counted, and x, y and
f carry whatever unit the data had before standardisation. `symbol` is LaTeX without dollar signs.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = "2.0"
CONVENTIONS = f"CF-1.11, fwdmft-{SCHEMA_VERSION}"
SOURCE = (
    "B. Bordelon and C. Pehlevan, Dynamics of Finite Width Kernel and Prediction Fluctuations in Mean Field "
    "Neural Networks, arXiv:2304.03408; B. Bordelon and C. Pehlevan, Self-Consistent Dynamical Field Theory "
    "of Kernel Evolution in Wide Neural Networks, arXiv:2205.09653"
)
MODEL_CONVENTIONS = (
    "h^1 = W^0 x / sqrt(D), h^(l+1) = W^l phi(h^l) / sqrt(N), f = w . phi(h^L) / (gamma0 N); "
    "step: theta <- theta - eta gamma0^2 N grad loss; Delta = -d loss / d f; g^l = gamma0 N df/dh^l; "
    "Phi^l = phi(h^l).phi(h^l) / N, G^l = g^l.g^l / N, K = sum_l G^(l+1) Phi^l; "
    "a quantity at time t is measured before the update of step t; "
    "q_N = q + N^(-1/2) delta + b / N: *_variance in /theory is N Var q, *_bias is N (E q_N - q), "
    "*_variance in /ensemble is Var q_N itself, not multiplied by N"
)


class Observable(NamedTuple):
    """An order parameter: its name in words, its symbol, and its dimensions.

    `dims` leaves out time, which comes first in the engine's arrays; only the dimensions of a two-time quantity
    contain it and are the axes as they are.
    """

    words: str
    symbol: str
    dims: tuple[str, ...]


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

KERNELS_OF_LAYERS = ("feature", "gradient")
"""The coordinate `kernel` of `layer_covariance`, in the order of its axis."""

LAYER_COVARIANCE_DIMS = ("time", "kernel", "layer", "kernel_prime", "layer_prime")

_RESPONSE_DIMS = ("matrix", "time", "point", "time_prime", "point_prime")
RESPONSES: dict[str, Observable] = {
    "feature_response": Observable(
        "response A^l(t, s) of the features at time t to backward noise at time s", r"A^{\ell}(t, s)", _RESPONSE_DIMS
    ),
    "gradient_response": Observable(
        "response B^l(t, s) of the backward fields at time t to forward noise at time s",
        r"B^{\ell}(t, s)",
        _RESPONSE_DIMS,
    ),
}
RESPONSES |= {
    f"{name}_standard_error": Observable(
        f"Monte-Carlo standard error of the {words}", rf"\mathrm{{s.e.}}\,{symbol}", dims
    )
    for name, (words, symbol, dims) in RESPONSES.items()
}

_THEORY_ROLES = {
    "": ("{words} at infinite width", "{symbol}"),
    "standard_error": (
        "Monte-Carlo standard error of the {words} at infinite width",
        r"\mathrm{{s.e.}}\,{symbol}",
    ),
    "variance": ("width times variance of the {words} over initialisations", r"N\,\mathrm{{Var}}\,{symbol}"),
    "variance_standard_error": (
        "Monte-Carlo standard error of width times variance of the {words}",
        r"\mathrm{{s.e.}}\,N\,\mathrm{{Var}}\,{symbol}",
    ),
    "bias": (
        "width times finite-width shift of the mean {words}",
        r"N\,(\mathrm{{E}}\,{symbol}_N - {symbol})",
    ),
    "bias_standard_error": (
        "Monte-Carlo standard error of width times finite-width shift of the mean {words}",
        r"\mathrm{{s.e.}}\,N\,(\mathrm{{E}}\,{symbol}_N - {symbol})",
    ),
    "signal_to_noise": (
        "{words} at infinite width over the square root of N times its variance; times sqrt(N) at width N",
        r"{symbol} / \sqrt{{N\,\mathrm{{Var}}\,{symbol}}}",
    ),
    "signal_to_noise_standard_error": (
        "Monte-Carlo standard error of the {words} over the square root of N times its variance",
        r"\mathrm{{s.e.}}\,{symbol} / \sqrt{{N\,\mathrm{{Var}}\,{symbol}}}",
    ),
    "alignment": ("alignment of the {words} with the targets over training points", r"A[{symbol}]"),
}
_ENSEMBLE_ROLES = {
    "mean": ("mean over trained networks of the {words}", r"\mathrm{{E}}\,{symbol}_N"),
    "mean_standard_error": (
        "standard error of the mean over trained networks of the {words}",
        r"\mathrm{{s.e.}}\,\mathrm{{E}}\,{symbol}_N",
    ),
    "variance": ("variance over trained networks of the {words}", r"\mathrm{{Var}}\,{symbol}_N"),
    "variance_standard_error": (
        "standard error of the variance over trained networks of the {words}",
        r"\mathrm{{s.e.}}\,\mathrm{{Var}}\,{symbol}_N",
    ),
    "signal_to_noise": (
        "mean {words} over the square root of N times its variance; times sqrt(N) at width N",
        r"\mathrm{{E}}\,{symbol}_N / \sqrt{{N\,\mathrm{{Var}}\,{symbol}_N}}",
    ),
    "signal_to_noise_standard_error": (
        "standard error of the mean {words} over the square root of N times its variance",
        r"\mathrm{{s.e.}}\,\mathrm{{E}}\,{symbol}_N / \sqrt{{N\,\mathrm{{Var}}\,{symbol}_N}}",
    ),
    "alignment": (
        "alignment with the targets over training points of the {words}, averaged over trained networks",
        r"A[\mathrm{{E}}\,{symbol}_N]",
    ),
}


def attributes(long_name: str, symbol: str | None = None, units: str = "1") -> dict[str, str]:
    """Attributes of one variable; `units` is "1" for a dimensionless quantity."""
    found = {"long_name": long_name, "units": units}
    return found if symbol is None else {**found, "symbol": symbol}


def _role_attributes(role: tuple[str, str], name: str) -> dict[str, str]:
    observable = (OBSERVABLES | METRICS).get(name)
    words = observable.words if observable else name.replace("_", " ")
    symbol = observable.symbol if observable else rf"\mathrm{{{name.replace('_', ' ')}}}"
    return attributes(role[0].format(words=words), role[1].format(symbol=_before_subscript(symbol, role[1])))


def _before_subscript(symbol: str, template: str) -> str:
    """A symbol that already has a superscript goes into parentheses before it is given the subscript N."""
    return f"({symbol})" if "^" in symbol and "_N" in template else symbol


def theory_attributes(name: str, role: str) -> dict[str, str]:
    """Attributes of observable `name` in /theory; role is "" or one of the suffixes such as "variance"."""
    return _role_attributes(_THEORY_ROLES[role], name)


def ensemble_attributes(name: str, role: str) -> dict[str, str]:
    """Attributes of observable `name` in /ensemble; role is a suffix such as "mean" or "variance"."""
    return _role_attributes(_ENSEMBLE_ROLES[role], name)


def diagnostic_attributes(name: str) -> dict[str, str]:
    """Attributes of a diagnostic, its unit read from the name: *seconds in s, *bytes in byte, anything else
    in 1.
    """
    if name in RESPONSES:
        return attributes(RESPONSES[name].words, RESPONSES[name].symbol)
    units = "s" if name.endswith("seconds") else "byte" if name.endswith("bytes") else "1"
    return attributes(name.replace("_", " "), units=units)
