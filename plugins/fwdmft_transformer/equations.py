"""Transformers at infinite width: attention weights are made of averages over neurons, so they are order parameters."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, activation, forward_program
from fwdmft_transformer.schema import Transformer

ATTENTION = ("block", "point", "token", "token_prime")


def forward(
    net: Net, x: Float[Array | np.ndarray, "point token feature"], spec: Transformer, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, token, feature)."""
    phi = activation(spec.activation, spec.scale, spec.gain)
    sigma = iter(sigma_w)
    h, v = net.layer("stream", net.input("U", "stream", x, sigma=next(sigma)), phi)
    seen = []
    for block in range(1, spec.depth + 1):
        head = f"head_{block}"
        q = net.dense(f"Q_{block}", "stream", head, v, sigma=next(sigma))
        k = net.dense(f"K_{block}", "stream", head, v, sigma=next(sigma))
        weights = attention(net.average(head, q[:, :, None] * k[:, None]), spec)
        seen.append(weights)
        attended = jnp.einsum("pab,pbn->pan", weights, v)
        h = h + spec.branch_scale * net.dense(f"V_{block}", "stream", "stream", attended, sigma=next(sigma))
        if spec.mlp:
            h = h + spec.branch_scale * net.dense(f"W_{block}", "stream", "stream", phi(h), sigma=next(sigma))
        h, v = net.layer("stream", h, phi)
    net.observe("attention", ATTENTION, jnp.stack(seen))
    return net.readout("w", "stream", jnp.mean(v, axis=1), sigma=next(sigma))


def attention(scores: Float[Array, "point token token"], spec: Transformer) -> Float[Array, "point token token"]:
    """Weights with which tokens (second) enter what a token (first) receives."""
    tokens = scores.shape[-1]
    counts = jnp.tril(jnp.ones((tokens, tokens), bool)) if spec.causal else jnp.ones((tokens, tokens), bool)
    if spec.scores == "linear":
        return jnp.where(counts, scores, 0.0) / tokens
    return jax.nn.softmax(jnp.where(counts, scores, -jnp.inf), axis=-1)


def field_equations(
    spec: Transformer, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int
) -> ForwardProgram:
    """x: (point, token, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(spec.weights_depth)
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center)
