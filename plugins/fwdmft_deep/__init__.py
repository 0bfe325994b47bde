"""Fully connected networks of any depth."""

from fwdmft.plugin import Architecture, deferred, hookimpl
from fwdmft_deep.schema import Deep

CONVENTIONS = (
    "h^1 = W^0 x / sqrt(D) (+ sigma_b b^1), h^(l+1) = W^l phi(h^l) / sqrt(N_l) (+ sigma_b b^(l+1)), with branch_scale "
    "beta: h^(l+1) = h^l + beta (...); f = w . phi(h^L) / (gamma0 N_L); N_l = width_ratios_l N; "
    "with normalization, phi(h) is phi((h - <h>) / sqrt(<(h - <h>)^2> + 1e-6)) (layer) or "
    "phi(h / sqrt(<h^2> + 1e-6)) (rms), <.> over neurons; with gate, phi(h^l) is phi(h^l) k^l throughout, "
    "k^1 = K^0 x / sqrt(D), k^(l+1) = K^l phi(h^l) k^l / sqrt(N_l), K like W; "
    "phi(h) = gain base(scale h) / scale; W, w ~ N(0, sigma_w^2), b ~ N(0, 1); g^l = gamma0 N df/dh^l; "
    "Phi^l = phi(h^l).phi(h^l) / N_l, G^l = g^l.g^l / N_l, K = gamma0^2 N df/dtheta.df/dtheta over trained parameters, "
    "which is sum_l G^(l+1) Phi^l (Phi^0 = x.x / D, G^(L+1) = 1) for equal widths without biases and branches"
)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_deep.equations", "field_equations")
    model = deferred("fwdmft_deep.model", "model")
    return [Architecture(Deep, field_equations, model, conventions=CONVENTIONS)]
