"""Two-layer networks."""

from fwdmft import hookimpl
from fwdmft.registry import Architecture, deferred
from fwdmft_mlp.schema import MLP


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_mlp.equations", "field_equations")
    model = deferred("fwdmft_mlp.model", "model")
    return [Architecture(MLP, field_equations, model)]
