"""Convolutional networks of finite width, as an Equinox module."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.plugin import Activation, Network, OfLayers, ParameterizationSpec, activation
from fwdmft_cnn.geometry import sizes
from fwdmft_cnn.schema import Cnn

Image = Float[Array, "_height _width _channel"]


class ConvolutionalNetwork(Network):
    """h_a^(l+1) = [h_a^l] + beta (sum_k W_k^l u_(a+k)^l / sqrt(N n_k) + sigma_b b^(l+1)), u = pool(phi(h)).

    kernels: (row, column, in channel, out channel) of each layer. biases: one row per layer, or none at all.
    readout: (output, position, channel), with one position for a global average. shape: of an image.
    """

    kernels: tuple[Float[Array, "_row _column _in _out"], ...]
    biases: tuple[Float[Array, " _channel"], ...]
    readout: Float[Array, "output position channel"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    spec: Cnn = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)
    phi: Activation = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        layers = sizes(self.spec, self.shape[:2])
        pairs = zip(layers, self.kernels, strict=True)
        return tuple(jnp.zeros((*before, kernel.shape[3]), kernel.dtype) for (before, _), kernel in pairs)

    def trace(self, x: Image, shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        features: list[Array] = []
        below, h = x, shifts[0]
        for layer, shift in enumerate(shifts):
            arriving = _convolve(below, self.kernels[layer], self.spec)
            if self.biases:
                arriving = arriving + self.spec.bias * self.biases[layer]
            branch = self.spec.branch_scale
            h = (h + branch * arriving if layer > 0 and branch is not None else arriving) + shift
            features.append(self.phi(h))
            below = _pool(features[-1]) if self.spec.pooling == "average" else features[-1]
        if self.spec.readout == "global_average":
            below = jnp.mean(below, axis=(0, 1), keepdims=True)
        positions, channels = self.readout.shape[1:]
        f = self.readout.reshape(len(self.readout), -1) @ below.reshape(-1)
        return f / (self.gamma0 * channels * positions**0.5), tuple(features)


def _convolve(v: Image, kernel: Float[Array, "row column in out"], spec: Cnn) -> Image:
    """sum_k W_k v_(a+k) / sqrt(C n_k), as one matrix product of patches, which also members of an ensemble share."""
    size, _, inner, outer = kernel.shape
    before = (size - 1) // 2
    beyond = (before, size - 1 - before)
    padded = jnp.pad(v, (beyond, beyond, (0, 0)), mode="wrap" if spec.padding == "circular" else "constant")
    rows, columns = v.shape[:2]
    shifted = [
        padded[i : i + rows : spec.stride, j : j + columns : spec.stride] for i in range(size) for j in range(size)
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    return patches @ kernel.reshape(-1, outer) / (inner * size**2) ** 0.5


def _pool(v: Image) -> Image:
    """Means over blocks of 2x2 positions."""
    rows, columns = v.shape[0] // 2, v.shape[1] // 2
    return v[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1).mean(axis=(1, 3))


def model(
    spec: Cnn, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int, width: int, key: Key[Array, ""]
) -> ConvolutionalNetwork:
    """A network of `width` channels with independent N(0, sigma_w^2) weights and N(0, 1) biases."""
    sigmas = parameterization.weight_scales(spec.depth)
    keys = jax.random.split(key, 2 * spec.depth + 1)
    channels = [x.shape[3], *(width,) * spec.depth]
    kernels = [
        sigmas[layer] * jax.random.normal(keys[layer], (spec.kernel_size,) * 2 + (channels[layer], width))
        for layer in range(spec.depth)
    ]
    biases = [jax.random.normal(k, (width,)) for k in keys[spec.depth + 1 :]]
    rows, columns = sizes(spec, x.shape[1:3])[-1][1]
    positions = rows * columns if spec.readout == "flatten" else 1
    return ConvolutionalNetwork(
        kernels=tuple(kernels),
        biases=tuple(biases) if spec.bias > 0 else (),
        readout=sigmas[-1] * jax.random.normal(keys[spec.depth], (outputs, positions, width)),
        shape=x.shape[1:],
        spec=spec,
        gamma0=parameterization.richness(width),
        phi=activation(spec.activation, spec.scale, spec.gain),
    )
