"""What every variable of a result is called in words, which symbol it has, and its unit.

All quantities of the theory are dimensionless (unit "1"): widths, steps and points are counted, and x, y and
f carry whatever unit the data had before standardisation. What is multiplied by the width N, a number of neurons, has
the unit "count", which UDUNITS takes as 1. `symbol` is LaTeX without dollar signs.
"""

from __future__ import annotations

from typing import NamedTuple

from fwdmft.observables import Observable

SCHEMA_VERSION = "2.1"
"""Of the format of results. The first number changes with what older readers cannot read, the second with additions."""

CONVENTIONS = f"CF-1.11, fwdmft-{SCHEMA_VERSION}"
SOURCE = (
    "B. Bordelon and C. Pehlevan, Dynamics of Finite Width Kernel and Prediction Fluctuations in Mean Field "
    "Neural Networks, arXiv:2304.03408; B. Bordelon and C. Pehlevan, Self-Consistent Dynamical Field Theory "
    "of Kernel Evolution in Wide Neural Networks, arXiv:2205.09653"
)
COMMON_CONVENTIONS = (
    "step: theta <- theta - eta gamma0^2 N grad loss; Delta = -d loss / d f; "
    "a quantity at time t is measured before the update of step t; "
    "q_N = q + N^(-1/2) delta + b / N: *_variance in /theory is N Var q, *_bias is N (E q_N - q), "
    "*_variance in /ensemble is Var q_N itself, not multiplied by N, and *_n_variance is N Var q_N"
)
"""What holds for every architecture; the network itself and its kernels are defined by the plugin."""


def model_conventions(of_plugin: str) -> str:
    """Those of the plugin's network, then those of training and of finite width."""
    return f"{of_plugin or 'network and kernels: as the plugin defines them'}; {COMMON_CONVENTIONS}"


KERNELS_OF_LAYERS = ("feature", "gradient")
"""The coordinate `kernel` of `layer_covariance`, in the order of its axis."""

LAYER_COVARIANCE_DIMS = ("time", "kernel", "layer", "kernel_prime", "layer_prime")

RESPONSES = {
    "feature_response": (
        "response A^l(t, s) of the features at time t to backward noise at time s",
        r"A^{\ell}(t, s)",
    ),
    "gradient_response": (
        "response B^l(t, s) of the backward fields at time t to forward noise at time s",
        r"B^{\ell}(t, s)",
    ),
}
"""Words and symbols."""

RESPONSES |= {
    f"{name}_standard_error": (f"Monte-Carlo standard error of the {words}", rf"\mathrm{{s.e.}}\,{symbol}")
    for name, (words, symbol) in RESPONSES.items()
}


def response_dims(axes: int) -> tuple[str, ...]:
    """Of response functions; matrices that are used more than once have more axes."""
    at_time = ("time", "point") if axes == 5 else ("time", "point", "use")
    return ("matrix", *at_time, *(f"{dim}_prime" for dim in at_time))


class _Role(NamedTuple):
    """What is known of an observable, with {words} and {symbol} of the observable to be filled in."""

    words: str
    symbol: str
    units: str = "1"
    missing_reason: str | None = None


_COUNTED = "count"
_NO_RATIO = "NaN where N Var is 0, as what does not fluctuate has no ratio, or where its estimate is negative"
_NO_ANGLE = "NaN where the kernel vanishes: it has no angle to the targets"

THEORY_ROLES = {
    "": _Role("{words} at infinite width", "{symbol}"),
    "standard_error": _Role(
        "Monte-Carlo standard error of the {words} at infinite width", r"\mathrm{{s.e.}}\,{symbol}"
    ),
    "variance": _Role(
        "N Var: variance of the {words} over initialisations, multiplied by the width N",
        r"N\,\mathrm{{Var}}\,{symbol}",
        _COUNTED,
    ),
    "variance_standard_error": _Role(
        "Monte-Carlo standard error of N Var, the variance of the {words} multiplied by the width N",
        r"\mathrm{{s.e.}}\,N\,\mathrm{{Var}}\,{symbol}",
        _COUNTED,
    ),
    "bias": _Role(
        "finite-width shift of the mean {words}, multiplied by the width N",
        r"N\,(\mathrm{{E}}\,{symbol}_N - {symbol})",
        _COUNTED,
    ),
    "bias_standard_error": _Role(
        "Monte-Carlo standard error of the finite-width shift of the mean {words}, multiplied by the width N",
        r"\mathrm{{s.e.}}\,N\,(\mathrm{{E}}\,{symbol}_N - {symbol})",
        _COUNTED,
    ),
    "signal_to_noise": _Role(
        "{words} at infinite width over the square root of N times its variance; times sqrt(N) at width N",
        r"{symbol} / \sqrt{{N\,\mathrm{{Var}}\,{symbol}}}",
        missing_reason=_NO_RATIO,
    ),
    "signal_to_noise_standard_error": _Role(
        "Monte-Carlo standard error of the {words} over the square root of N times its variance",
        r"\mathrm{{s.e.}}\,{symbol} / \sqrt{{N\,\mathrm{{Var}}\,{symbol}}}",
        missing_reason=_NO_RATIO,
    ),
    "alignment": _Role(
        "alignment of the {words} with the targets over training points", r"A[{symbol}]", missing_reason=_NO_ANGLE
    ),
}
ENSEMBLE_ROLES = {
    "mean": _Role("mean over trained networks of the {words}", r"\mathrm{{E}}\,{symbol}_N"),
    "mean_standard_error": _Role(
        "standard error of the mean over trained networks of the {words}",
        r"\mathrm{{s.e.}}\,\mathrm{{E}}\,{symbol}_N",
    ),
    "variance": _Role(
        "Var: variance over trained networks of the {words}, not multiplied by the width N",
        r"\mathrm{{Var}}\,{symbol}_N",
    ),
    "variance_standard_error": _Role(
        "standard error of Var, the variance over trained networks of the {words}, not multiplied by the width N",
        r"\mathrm{{s.e.}}\,\mathrm{{Var}}\,{symbol}_N",
    ),
    "third_moment": _Role(
        "third central moment over trained networks of the {words}, which merging ensembles needs",
        r"\mathrm{{E}}\,({symbol}_N - \mathrm{{E}}\,{symbol}_N)^3",
    ),
    "n_variance": _Role(
        "N Var: variance over trained networks of the {words}, multiplied by the width N",
        r"N\,\mathrm{{Var}}\,{symbol}_N",
        _COUNTED,
    ),
    "n_variance_standard_error": _Role(
        "standard error of N Var, the variance over trained networks of the {words} multiplied by the width N",
        r"\mathrm{{s.e.}}\,N\,\mathrm{{Var}}\,{symbol}_N",
        _COUNTED,
    ),
    "signal_to_noise": _Role(
        "mean {words} over the square root of N times its variance; times sqrt(N) at width N",
        r"\mathrm{{E}}\,{symbol}_N / \sqrt{{N\,\mathrm{{Var}}\,{symbol}_N}}",
        missing_reason=_NO_RATIO,
    ),
    "signal_to_noise_standard_error": _Role(
        "standard error of the mean {words} over the square root of N times its variance",
        r"\mathrm{{s.e.}}\,\mathrm{{E}}\,{symbol}_N / \sqrt{{N\,\mathrm{{Var}}\,{symbol}_N}}",
        missing_reason=_NO_RATIO,
    ),
    "alignment": _Role(
        "alignment with the targets over training points of the {words}, averaged over trained networks",
        r"A[\mathrm{{E}}\,{symbol}_N]",
        missing_reason=_NO_ANGLE,
    ),
}


def attributes(
    long_name: str, symbol: str | None = None, units: str = "1", missing_reason: str | None = None
) -> dict[str, str]:
    """Attributes of one variable; `units` is "1" for a dimensionless quantity, missing_reason says where it is NaN."""
    given = {"long_name": long_name, "units": units, "symbol": symbol, "missing_reason": missing_reason}
    return {name: value for name, value in given.items() if value is not None}


def _role_attributes(role: _Role, observable: Observable) -> dict[str, str]:
    symbol = role.symbol.format(symbol=_before_subscript(observable.symbol, role.symbol))
    return attributes(role.words.format(words=observable.words), symbol, role.units, role.missing_reason)


def _before_subscript(symbol: str, template: str) -> str:
    """A symbol that already has a superscript goes into parentheses before it is given the subscript N."""
    return f"({symbol})" if "^" in symbol and "_N" in template else symbol


def theory_attributes(observable: Observable, role: str) -> dict[str, str]:
    """Attributes of an observable in /theory; role is "" or one of the suffixes such as "variance"."""
    return _role_attributes(THEORY_ROLES[role], observable)


def ensemble_attributes(observable: Observable, role: str) -> dict[str, str]:
    """Attributes of an observable in /ensemble; role is a suffix such as "mean" or "variance"."""
    return _role_attributes(ENSEMBLE_ROLES[role], observable)


def diagnostic_attributes(name: str) -> dict[str, str]:
    """Attributes of a diagnostic, its unit read from the name: *seconds in s, *bytes in byte, anything else
    in 1.
    """
    if name in RESPONSES:
        return attributes(*RESPONSES[name])
    units = "s" if name.endswith("seconds") else "byte" if name.endswith("bytes") else "1"
    return attributes(name.replace("_", " "), units=units)
