"""Convolutional networks."""

from fwdmft.plugin import Architecture, deferred, hookimpl
from fwdmft_cnn.schema import Cnn

CONVENTIONS = (
    "h_a^(l+1) = sum_k W_k^l u_(a+k)^l / sqrt(N n_k) (+ sigma_b b^(l+1)) at position a, over n_k kernel offsets k, "
    "u = phi(h), pooled, u^0 = x with D input channels in place of N, with branch_scale beta: "
    "h^(l+1) = h^l + beta (...); "
    "f = sum_a w_a . u_a / (gamma0 N sqrt(A)) over A positions (flatten) or w . mean_a u_a / (gamma0 N) "
    "(global_average); N channels; phi(h) = gain base(scale h) / scale; W, w ~ N(0, sigma_w^2), b ~ N(0, 1); "
    "g_a^l = gamma0 N df/dh_a^l; Phi^l = sum_a phi_a.phi_a / (N A), G^l = sum_a g_a.g_a / N, "
    "K = gamma0^2 N df/dtheta.df/dtheta over all parameters"
)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_cnn.equations", "field_equations")
    model = deferred("fwdmft_cnn.model", "model")
    return [Architecture(Cnn, field_equations, model, axes=("height", "width", "channel"), conventions=CONVENTIONS)]
