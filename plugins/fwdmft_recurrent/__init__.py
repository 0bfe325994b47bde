"""Recurrent networks."""

from fwdmft.plugin import Architecture, deferred, hookimpl
from fwdmft_recurrent.schema import Recurrent

CONVENTIONS = (
    "h_1 = U x_1 / sqrt(D) (+ sigma_b b), h_(t+1) = W phi(h_t) / sqrt(N) + U x_(t+1) / sqrt(D) (+ sigma_b b), with the "
    "same U, W, b at every step t = 1 .. T; f = w . phi(h_T) / (gamma0 N) (readout last) or "
    "w . mean_t phi(h_t) / (gamma0 N) (mean); phi(h) = gain base(scale h) / scale; U, W, w ~ N(0, sigma_w^2) in this "
    "order, b ~ N(0, 1); layer l is step t = l: g_t = gamma0 N df/dh_t, Phi^t = phi(h_t).phi(h_t) / N, "
    "G^t = g_t.g_t / N, K = gamma0^2 N df/dtheta.df/dtheta over all parameters"
)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    field_equations = deferred("fwdmft_recurrent.equations", "field_equations")
    model = deferred("fwdmft_recurrent.model", "model")
    return [Architecture(Recurrent, field_equations, model, axes=("step", "feature"), conventions=CONVENTIONS)]
