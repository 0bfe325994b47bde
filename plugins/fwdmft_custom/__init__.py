"""Networks of the user: any Equinox or Flax nnx module, trained and measured without a theory."""

from fwdmft.plugin import Architecture, deferred, hookimpl
from fwdmft_custom.schema import Custom

CONVENTIONS = "f = network(x) / gamma0, with a network of the user; K = gamma0^2 N df/dtheta.df/dtheta"


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_custom.model", "field_equations")
    model = deferred("fwdmft_custom.model", "model")
    return [Architecture(Custom, field_equations, model, conventions=CONVENTIONS)]
