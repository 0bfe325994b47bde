"""Transformers at infinite width.

The scores of one head are averages over its neurons, so its attention weights are order parameters. Of many heads, each
is like a neuron that carries d-vectors: its attention is its own, and averages over heads are order parameters.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, Stencil, activation, forward_program
from fwdmft_transformer import DIMS
from fwdmft_transformer.schema import Transformer

Weights = Float[Array, "point token token *head"]


def forward(
    net: Net, x: Float[Array | np.ndarray, "point token feature"], spec: Transformer, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, token, feature)."""
    phi = activation(spec.activation, spec.scale, spec.gain)
    sigma = iter(sigma_w)
    h, v = net.layer("stream", net.input("U", "stream", x, sigma=next(sigma)), phi)
    seen: dict[str, list[Array]] = {}
    for block in range(1, spec.depth + 1):
        own = {name: next(sigma) for name in spec.matrices}
        attended, observed = (one_head if spec.heads == 1 else many_heads)(net, block, v, spec, own)
        for name, value in observed.items():
            seen.setdefault(name, []).append(value)
        h = h + spec.branch_scale * attended
        if spec.mlp:
            h = h + spec.branch_scale * net.dense(f"W_{block}", "stream", "stream", phi(h), sigma=own["W"])
        h, v = net.layer("stream", h, phi)
    for name, blocks in seen.items():
        net.observe(name, DIMS, jnp.stack(blocks))
    return net.readout("w", "stream", jnp.mean(v, axis=1), sigma=next(sigma))


Attended = tuple[Float[Array, "point token neuron"], dict[str, Float[Array, "point token token"]]]
"""What attention adds to the stream (over beta), and what is observed of it."""


def one_head(
    net: Net, block: int, v: Float[Array, "point token neuron"], spec: Transformer, sigma: dict[str, float]
) -> Attended:
    """Of attention whose keys are as long as the stream is wide. sigma: of the block's matrices by name."""
    head = f"head_{block}"
    q, k = (net.dense(f"{name}_{block}", "stream", head, v, sigma=sigma[name]) for name in "QK")
    weights = attention(net.average(head, q[:, :, None] * k[:, None]), spec)
    mixed = jnp.einsum("pab,pbn->pan", weights, v)
    return net.dense(f"V_{block}", "stream", "stream", mixed, sigma=sigma["V"]), {"attention": weights}


def many_heads(
    net: Net, block: int, v: Float[Array, "point token neuron"], spec: Transformer, sigma: dict[str, float]
) -> Attended:
    """Of N / d heads. They are the neurons of a population, with their d entries as sites."""
    heads, size = f"heads_{block}", spec.key_size or 1
    # A matrix of its own for each entry: place a reads the only position there is with the a-th matrix. Banks divide by
    # the root of the number of their matrices.
    apart = Stencil(tuple(tuple(0 if a == k else -1 for a in range(size)) for k in range(size)), 1)
    together = Stencil(tuple((k,) for k in range(size)), size)
    read = size**0.5 * v[:, :, None]
    q, k, u = (net.dense(f"{name}_{block}", "stream", heads, read, sigma=sigma[name], stencil=apart) for name in "QKV")
    weights = attention(jnp.einsum("paih,pbih->pabh", q, k) / size**0.5, spec)
    z = jnp.einsum("pabh,pbih->paih", weights, u)
    attended = net.dense(f"O_{block}", heads, "stream", z, sigma=sigma["O"], stencil=together)
    mean, square = net.average(heads, weights), net.average(heads, weights**2)
    return attended[:, :, 0], {"attention": mean, "attention_dispersion": square - mean**2}


def attention(scores: Weights, spec: Transformer) -> Weights:
    """Weights with which tokens (second) enter what a token (first) receives."""
    tokens = scores.shape[1]
    counts = jnp.tril(jnp.ones((tokens, tokens), bool)) if spec.causal else jnp.ones((tokens, tokens), bool)
    counts = counts.reshape(tokens, tokens, *(1,) * (scores.ndim - 3))
    if spec.scores == "linear":
        return jnp.where(counts, scores, 0.0) / tokens
    return jax.nn.softmax(jnp.where(counts, scores, -jnp.inf), axis=2)


def field_equations(
    spec: Transformer, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int
) -> ForwardProgram:
    """x: (point, token, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(spec.weights_depth)
    heads = {f"heads_{block}": 1 / spec.key_size for block in range(1, spec.depth + 1)} if spec.key_size else {}
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center, widths=heads)
