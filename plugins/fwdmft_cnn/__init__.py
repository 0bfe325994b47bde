"""Convolutional networks."""

from fwdmft import hookimpl
from fwdmft.registry import Architecture, deferred
from fwdmft_cnn.schema import Cnn


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_cnn.equations", "field_equations")
    model = deferred("fwdmft_cnn.model", "model")
    return [Architecture(Cnn, field_equations, model, images=True)]
