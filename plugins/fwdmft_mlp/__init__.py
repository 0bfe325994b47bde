"""Two-layer networks."""

from fwdmft.plugin import Architecture, deferred, hookimpl
from fwdmft_mlp.schema import MLP

CONVENTIONS = (
    "h = W x / sqrt(D) (+ sigma_b b), f = w . phi(h) / (gamma0 N); phi(h) = gain base(scale h) / scale; "
    "W, w ~ N(0, sigma_w^2), b ~ N(0, 1); g = gamma0 N df/dh; Phi = phi(h).phi(h) / N, G = g.g / N, "
    "K = gamma0^2 N df/dtheta.df/dtheta = G (x.x / D (+ sigma_b^2)) + Phi"
)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_mlp.equations", "field_equations")
    model = deferred("fwdmft_mlp.model", "model")
    return [Architecture(MLP, field_equations, model, conventions=CONVENTIONS)]
