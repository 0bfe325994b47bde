"""Transformers with one head per block, or with as many as there are neurons."""

from fwdmft.plugin import Architecture, Observable, deferred, hookimpl
from fwdmft_transformer.schema import Transformer

CONVENTIONS = (
    "h_a^0 = U x_a / sqrt(D); per block v = phi(h), q, k = Q v / sqrt(N), K v / sqrt(N), s_ab = q_a.k_b / N, "
    "attention_ab = softmax_b(s_ab) or s_ab / A (scores linear) over A tokens, causal: tokens b > a do not count, "
    "h_a += beta V (sum_b attention_ab v_b) / sqrt(N); with heads infinite, N / d heads of key_size d, where q, k, "
    "u = V v / sqrt(N) are d-vectors, s_ab = q_a.k_b / sqrt(d), z_a = sum_b attention_ab u_b, and "
    "h_a += beta O z_a / sqrt(N) over all heads; then with mlp h_a += beta W phi(h_a) / sqrt(N); "
    "f = w . mean_a phi(h_a) / (gamma0 N); phi(h) = gain base(scale h) / scale; weights ~ N(0, sigma_w^2), in order "
    "U, then Q, K, V (, O) (, W) of each block, then w; layer 1 is h^0, layer l + 1 is h behind block l: "
    "g_a^l = gamma0 N df/dh_a^l, Phi^l = sum_a phi_a.phi_a / (N A), G^l = sum_a g_a.g_a / N, "
    "K = gamma0^2 N df/dtheta.df/dtheta over all parameters"
)

DIMS = ("block", "point", "token", "token_prime")
OBSERVABLES = {
    "attention": Observable("attention weight of a token on another, average over heads", "a", DIMS),
    "attention_dispersion": Observable("variance over heads of the attention weight", "s_a", DIMS),
}


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    return [
        Architecture(
            Transformer,
            deferred("fwdmft_transformer.equations", "field_equations"),
            deferred("fwdmft_transformer.model", "model"),
            axes=("token", "feature"),
            conventions=CONVENTIONS,
            observables=OBSERVABLES,
        )
    ]
