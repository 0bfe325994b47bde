"""Transformers of finite width, as an Equinox module."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.plugin import Activation, Network, OfLayers, ParameterizationSpec, activation, whole_neurons
from fwdmft_transformer.schema import Transformer

Tokens = Float[Array, "token feature"]
Matrix = Float[Array, "out in"]


class Block(eqx.Module):
    """Q, K, V of attention, `output` (O) of many heads, and W of the layer behind it (None without).

    Rows of Q, K, V and columns of O are those of all heads, one head after the other.
    """

    Q: Matrix
    K: Matrix
    V: Matrix
    output: Matrix | None
    W: Matrix | None


class TransformerNetwork(Network):
    """h_a = U x_a / sqrt(D), blocks that add to it, f = w mean_a phi(h_a) / (gamma0 N).

    tokens: A.
    """

    U: Float[Array, "neuron feature"]
    blocks: tuple[Block, ...]
    w: Float[Array, "output neuron"]
    tokens: int = eqx.field(static=True)
    spec: Transformer = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        stream = jnp.zeros((self.tokens, self.w.shape[1]), self.w.dtype)
        return (stream,) * (1 + len(self.blocks))

    def trace(self, x: Tokens, shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        return self._pass(x, shifts)[:2]

    def observables(self, x: Tokens) -> dict[str, Array]:
        weights = jnp.stack(self._pass(x, self.shifts())[2])
        observed = {"attention": jnp.mean(weights, axis=1)}
        return observed if self.spec.heads == 1 else observed | {"attention_dispersion": jnp.var(weights, axis=1)}

    def _pass(self, x: Tokens, shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers, tuple[Array, ...]]:
        """Prediction, features (token, neuron) of every layer, attention (head, token, token) of every block."""
        beta = self.spec.branch_scale
        h = x @ self.U.T / x.shape[1] ** 0.5 + shifts[0]
        features, attention = [self.phi(h)], []
        for block, shift in zip(self.blocks, shifts[1:], strict=True):
            v = features[-1]
            added, weights = self._attended(block, v)
            attention.append(weights)
            h = h + beta * added
            if block.W is not None:
                h = h + beta * _times(block.W, self.phi(h))
            h = h + shift
            features.append(self.phi(h))
        f = self.w @ jnp.mean(features[-1], axis=0) / (self.gamma0 * h.shape[1])
        return f, tuple(features), tuple(attention)

    def _attended(
        self, block: Block, v: Float[Array, "token neuron"]
    ) -> tuple[Float[Array, "token neuron"], Float[Array, "head token token_prime"]]:
        """What attention adds to each token (over beta), and its weights."""
        if block.output is None:
            weights = self._attention(_times(block.Q, v) @ _times(block.K, v).T / v.shape[1])
            return _times(block.V, weights @ v), weights[None]
        size = self.spec.key_size or 1
        q, k, u = (_times(matrix, v).reshape(len(v), -1, size) for matrix in (block.Q, block.K, block.V))
        weights = jax.vmap(self._attention)(jnp.einsum("ahi,bhi->hab", q, k) / size**0.5)
        z = jnp.einsum("hab,bhi->ahi", weights, u)
        return _times(block.output, z.reshape(len(v), -1)), weights

    def _attention(self, scores: Float[Array, "token token_prime"]) -> Float[Array, "token token_prime"]:
        counts = jnp.tril(jnp.ones(scores.shape, bool)) if self.spec.causal else jnp.ones(scores.shape, bool)
        if self.spec.scores == "softmax":
            return jax.nn.softmax(jnp.where(counts, scores, -jnp.inf), axis=1)
        return jnp.where(counts, scores, 0.0) / len(scores)


def _times(matrix: Matrix, v: Float[Array, "token in"]) -> Float[Array, "token out"]:
    """W v_a / sqrt(N) of every token."""
    return v @ matrix.T / v.shape[1] ** 0.5


def model(
    spec: Transformer,
    parameterization: ParameterizationSpec,
    x: np.ndarray,
    outputs: int,
    width: int,
    key: Key[Array, ""],
) -> TransformerNetwork:
    """A network with independent N(0, sigma_w^2) weights. x: (point, token, feature).

    Raises InputError where there is no whole number of heads.
    """
    if spec.key_size is not None:
        whole_neurons(1 / spec.key_size, width)
    sigmas = parameterization.weight_scales(spec.weights_depth)
    key_input, key_readout, key_blocks = jax.random.split(key, 3)
    keys = jax.random.split(key_blocks, len(sigmas) - 2)
    hidden = [sigma * jax.random.normal(k, (width, width)) for sigma, k in zip(sigmas[1:-1], keys, strict=True)]
    names = spec.matrices
    blocks = [dict(zip(names, hidden[first:], strict=False)) for first in range(0, len(hidden), len(names))]
    return TransformerNetwork(
        U=sigmas[0] * jax.random.normal(key_input, (width, x.shape[2])),
        blocks=tuple(Block(b["Q"], b["K"], b["V"], b.get("O"), b.get("W")) for b in blocks),
        w=sigmas[-1] * jax.random.normal(key_readout, (outputs, width)),
        tokens=x.shape[1],
        spec=spec,
        gamma0=parameterization.richness(width),
        phi=activation(spec.activation, spec.scale, spec.gain),
    )
