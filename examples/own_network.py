"""A network of one's own for `architecture: {kind: custom, network: own_network:gated}`, see own_network.yaml.

The function is called with a width N and a key, and returns an Equinox module (a Flax nnx module does as well), which
is called on one point x of D features. fwdmft divides the outputs by gamma0 and multiplies the learning rate by
gamma0^2 N, so for the usual limit of wide networks: initial weights of order 1, h = W x / sqrt(D), and outputs
w . phi(h) / N.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

FEATURES, OUTPUTS = 16, 1


class Gated(eqx.Module):
    """Neurons that are switched by others: w . (tanh(W x / sqrt(D)) * sigmoid(V x / sqrt(D))) / N."""

    W: jax.Array
    V: jax.Array
    w: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x / len(x) ** 0.5
        return self.w @ (jnp.tanh(self.W @ x) * jax.nn.sigmoid(self.V @ x)) / self.w.shape[1]


def gated(width: int, key: jax.Array) -> Gated:
    """One network of this width with N(0, 1) weights."""
    keys = jax.random.split(key, 3)
    shapes = ((width, FEATURES), (width, FEATURES), (OUTPUTS, width))
    return Gated(*(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)))
