"""The activation swish, phi(h) = h / (1 + exp(-h)). Light: JAX is imported when the function is called."""

from fwdmft.plugin import ActivationFunction, deferred, hookimpl


@hookimpl
def fwdmft_activations() -> list[ActivationFunction]:
    return [ActivationFunction("swish", deferred("fwdmft_swish.function", "swish"), kinked=False)]
