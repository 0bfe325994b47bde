"""Recurrent networks of finite width, as an Equinox module."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.plugin import Activation, Network, OfLayers, ParameterizationSpec, activation
from fwdmft_recurrent.schema import DEPTH, Recurrent, steps

Sequence = Float[Array, "step feature"]


class RecurrentNetwork(Network):
    """h_1 = U x_1 / sqrt(D) + sigma_b b, h_(t+1) = W phi(h_t) / sqrt(N) + U x_(t+1) / sqrt(D) + sigma_b b,
    f = w phi(h_T) / (gamma0 N), or with the mean of phi(h_t) over t.

    steps: T. averages: whether f reads the mean.
    """

    U: Float[Array, "neuron feature"]
    W: Float[Array, "neuron neuron"]
    w: Float[Array, "output neuron"]
    b: Float[Array, " neuron"] | None
    steps: int = eqx.field(static=True)
    averages: bool = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)
    sigma_b: float = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        return (jnp.zeros_like(self.w[0]),) * self.steps

    def trace(self, x: Sequence, shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        features: list[Array] = []
        for arriving, shift in zip(x @ self.U.T / x.shape[1] ** 0.5, shifts, strict=True):
            h = arriving + shift
            if self.b is not None:
                h = h + self.sigma_b * self.b
            if features:
                h = h + self.W @ features[-1] / len(h) ** 0.5
            features.append(self.phi(h))
        read = jnp.mean(jnp.stack(features), axis=0) if self.averages else features[-1]
        return self.w @ read / (self.gamma0 * len(read)), tuple(features)


def model(
    spec: Recurrent,
    parameterization: ParameterizationSpec,
    x: np.ndarray,
    outputs: int,
    width: int,
    key: Key[Array, ""],
) -> RecurrentNetwork:
    """A network with independent N(0, sigma_w^2) weights and N(0, 1) biases (scaled by sigma_b where they act).

    x: (point, step, feature). Raises InputError for too many steps.
    """
    sigma_input, sigma_hidden, sigma_readout = parameterization.weight_scales(DEPTH)
    key_input, key_hidden, key_readout, key_bias = jax.random.split(key, 4)
    return RecurrentNetwork(
        U=sigma_input * jax.random.normal(key_input, (width, x.shape[2])),
        W=sigma_hidden * jax.random.normal(key_hidden, (width, width)),
        w=sigma_readout * jax.random.normal(key_readout, (outputs, width)),
        b=jax.random.normal(key_bias, (width,)) if spec.bias > 0 else None,
        steps=steps(x),
        averages=spec.readout == "mean",
        gamma0=parameterization.richness(width),
        sigma_b=spec.bias,
        phi=activation(spec.activation, spec.scale, spec.gain),
    )
