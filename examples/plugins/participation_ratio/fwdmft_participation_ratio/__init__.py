"""Over how many directions the features of the training points spread. Light: JAX is imported by the function."""

from fwdmft.plugin import Observable, ObservableFunction, deferred, hookimpl

RATIO = Observable(
    "participation ratio of the feature kernel over training points", r"\mathrm{PR}[\Phi^{\ell}]", ("layer",)
)


@hookimpl
def fwdmft_observables() -> list[ObservableFunction]:
    function = deferred("fwdmft_participation_ratio.function", "participation_ratio")
    return [ObservableFunction("participation_ratio", RATIO, function)]
