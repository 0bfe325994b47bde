"""Two-layer networks of finite width, as an Equinox module."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.plugin import Activation, Network, OfLayers, ParameterizationSpec, activation
from fwdmft_mlp.schema import MLP


class TwoLayer(Network):
    """h = W x / sqrt(D) + sigma_b b,  f = w phi(h) / (gamma0 N)."""

    W: Float[Array, "neuron feature"]
    w: Float[Array, "output neuron"]
    b: Float[Array, " neuron"] | None
    gamma0: float = eqx.field(static=True)
    sigma_b: float = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        return (jnp.zeros_like(self.w[0]),)

    def trace(self, x: Float[Array, " feature"], shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        h = self.W @ x / len(x) ** 0.5 + shifts[0]
        if self.b is not None:
            h = h + self.sigma_b * self.b
        features = self.phi(h)
        return self.w @ features / (self.gamma0 * len(features)), (features,)


def model(
    spec: MLP, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int, width: int, key: Key[Array, ""]
) -> TwoLayer:
    """A network with independent N(0, sigma_w^2) weights and N(0, 1) biases (scaled by sigma_b where they act)."""
    sigma_input, sigma_readout = parameterization.weight_scales(depth=1)
    key_input, key_readout, key_bias = jax.random.split(key, 3)
    return TwoLayer(
        W=sigma_input * jax.random.normal(key_input, (width, x.shape[1])),
        w=sigma_readout * jax.random.normal(key_readout, (outputs, width)),
        b=jax.random.normal(key_bias, (width,)) if spec.bias > 0 else None,
        gamma0=parameterization.richness(width),
        sigma_b=spec.bias,
        phi=activation(spec.activation, spec.scale, spec.gain),
    )
