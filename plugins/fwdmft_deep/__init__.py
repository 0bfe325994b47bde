"""Fully connected networks of any depth."""

from fwdmft import hookimpl
from fwdmft.registry import Architecture, deferred
from fwdmft_deep.schema import Deep


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_deep.equations", "field_equations")
    model = deferred("fwdmft_deep.model", "model")
    return [Architecture(Deep, field_equations, model)]
