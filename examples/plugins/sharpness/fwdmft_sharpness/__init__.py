"""How sharp the minimum is: gradient descent is stable at eta lambda < 2. Light: JAX is imported by the function."""

from fwdmft.plugin import Observable, ObservableFunction, deferred, hookimpl

LARGEST = Observable("largest eigenvalue of the tangent kernel over training points", r"\lambda", ())


@hookimpl
def fwdmft_observables() -> list[ObservableFunction]:
    return [ObservableFunction("sharpness", LARGEST, deferred("fwdmft_sharpness.function", "sharpness"))]
