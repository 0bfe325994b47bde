"""Networks as users bring them: a two-layer network like the built-in one, and wrong ones."""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

FEATURES = 4


class TwoLayer(eqx.Module):
    W: jax.Array
    w: jax.Array
    phi: Any = jnp.tanh  # a leaf that is no array, as in eqx.nn.MLP

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w @ self.phi(self.W @ x / len(x) ** 0.5) / self.w.shape[1]


def weights(width: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Those of the built-in network of this key."""
    key_input, key_readout, _ = jax.random.split(key, 3)
    return jax.random.normal(key_input, (width, FEATURES)), jax.random.normal(key_readout, (1, width))


def two_layer(width: int, key: jax.Array) -> TwoLayer:
    return TwoLayer(*weights(width, key))


def two_layer_of_flax(width: int, key: jax.Array) -> Any:
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self) -> None:
            self.W, self.w = map(nnx.Param, weights(width, key))
            self.calls = nnx.Variable(jnp.zeros(()))  # not trained

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.w[...] @ jnp.tanh(self.W[...] @ x / len(x) ** 0.5) / width + self.calls[...]

    return Network()


def fails(width: int, key: jax.Array) -> TwoLayer:
    raise RuntimeError("no such width\nand more")


def no_module(width: int, key: jax.Array) -> float:
    return 1.0


def two_outputs(width: int, key: jax.Array) -> TwoLayer:
    W, w = weights(width, key)
    return TwoLayer(W, jnp.concatenate([w, w]))


def other_features(width: int, key: jax.Array) -> TwoLayer:
    W, w = weights(width, key)
    return TwoLayer(W[:, 1:], w)


def same(width: int, key: jax.Array) -> TwoLayer:
    return two_layer(width, jax.random.key(0))


def quits(width: int, key: jax.Array) -> TwoLayer:
    sys.exit(0)


number = 3
