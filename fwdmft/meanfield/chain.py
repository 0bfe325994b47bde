"""Field equations of a chain: input weights, a local map, a readout.

    h = W x / sqrt(D) + sigma_b b      v = local(h)      f_c = w_c . v / (gamma0 N)

An architecture supplies only the forward local map; the backward field g_c = gamma0 N d f_c / d h is its
vector-Jacobian product with the readout, and weight updates and kernels follow from v and g:

    Phi^1 = <v v>     G^1 = <g g>     K = Phi^1 delta_cc' + G^1 Phi^0      (d f / d t = eta K Delta)

Source: Bordelon & Pehlevan 2022 (arXiv 2205.09653), eqs. for the two-layer case, with discrete time kept exact.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield.field_equations import FieldEquations, NeuronWeights, Observables, Sites, Update
from fwdmft.meanfield.neurons import Population
from fwdmft.meanfield.products import gram, mix
from fwdmft.meanfield.weights import InputWeights, Trained, at_rest, heavy_ball

HIDDEN = "hidden_1"

LocalMap = Callable[[Float[Array, "point neuron"]], Float[Array, "point neuron"]]


class ChainState(NamedTuple):
    """h: (point, neuron) preactivations, w: (output, neuron) readout, origin: w v at t = 0 per neuron, or zero."""

    h: Trained
    w: Trained
    origin: Float[Array, "point output neuron"]


class ChainActivity(NamedTuple):
    """v: (point, neuron) features; pull_back: vector-Jacobian product of the local map at h."""

    v: Float[Array, "point neuron"]
    pull_back: Callable[[Array], tuple[Array]]


class ChainSites(NamedTuple):
    """Features v (point, neuron), backward fields g and contributions to f, both (point, output, neuron)."""

    v: Array
    g: Array
    f: Array


class ChainAverages(NamedTuple):
    feature: Float[Array, "point point"]
    gradient: Float[Array, "point output point output"]
    prediction: Float[Array, "point output"]


class Chain(FieldEquations):
    """One population of neurons between input weights and readout; see the module docstring.

    gamma0: richness. outputs: number of outputs C. center: report and train f(t) - f(0).
    sigma_w: initial standard deviations of input weights and readout. sigma_b: scale of the hidden bias.
    """

    inputs: InputWeights
    gamma0: Array
    local: LocalMap = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    center: bool = eqx.field(static=True)
    sigma_readout: float = eqx.field(static=True)

    def __init__(
        self,
        x: Float[np.ndarray, "point feature"],
        local: LocalMap,
        outputs: int,
        gamma0: float,
        sigma_w: tuple[float, float] = (1.0, 1.0),
        sigma_b: float = 0.0,
        center: bool = True,
    ):
        self.inputs = InputWeights(x, sigma_w[0], sigma_b)
        self.gamma0 = jnp.asarray(gamma0, dtype=self.inputs.gram.dtype)
        self.local = local
        self.outputs = outputs
        self.center = center
        self.sigma_readout = sigma_w[1]

    @property
    def populations(self) -> tuple[Population, ...]:
        return (Population(HIDDEN, self.outputs + self.inputs.rank),)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {
            "prediction": ("point", "output"),
            "feature_kernel": ("layer", "point", "point_prime"),
            "gradient_kernel": ("layer", "point", "output", "point_prime", "output_prime"),
            "tangent_kernel": ("point", "output", "point_prime", "output_prime"),
        }

    def initial(self, noise: dict[str, Array], p: NeuronWeights, momentum: bool) -> ChainState:
        w = self.sigma_readout * noise[HIDDEN][: self.outputs]
        h = self.inputs.initial(noise[HIDDEN][self.outputs :])
        origin = _contributions(self.local(h), w)
        return ChainState(at_rest(h, momentum), at_rest(w, momentum), origin if self.center else 0 * origin)

    def forward(self, state: ChainState, p: NeuronWeights) -> tuple[Array, ChainActivity]:
        v, pull_back = jax.vjp(self.local, state.h.value)
        return jnp.sum(self._prediction(state, v) * p[HIDDEN], axis=-1), ChainActivity(v, pull_back)

    def _prediction(self, state: ChainState, v: Array) -> Float[Array, "point output neuron"]:
        return (_contributions(v, state.w.value) - state.origin) / self.gamma0

    def step(
        self, state: ChainState, activity: ChainActivity, residual: Array, update: Update, p: NeuronWeights
    ) -> ChainState:
        (signal,) = activity.pull_back(mix(residual, state.w.value))
        return ChainState(
            heavy_ball(state.h, self.inputs.direction(signal, self.gamma0), update),
            heavy_ball(state.w, self.gamma0 * mix(residual.T, activity.v), update),
            state.origin,
        )

    def sites(self, state: ChainState, activity: ChainActivity, p: NeuronWeights) -> Sites:
        v = activity.v
        readout = jnp.broadcast_to(state.w.value[:, None], (self.outputs, *v.shape))
        (g,) = jax.vmap(activity.pull_back)(readout)
        return {HIDDEN: ChainSites(v, jnp.moveaxis(g, 0, 1), self._prediction(state, v))}

    def prediction_sites(self, sites: Sites) -> dict[str, Array]:
        return {HIDDEN: sites[HIDDEN].f}

    def averages(self, population: str, sites: ChainSites, p: Array) -> ChainAverages:
        return ChainAverages(
            feature=gram(sites.v, p),
            gradient=gram(sites.g, p),
            prediction=jnp.sum(sites.f * p, axis=-1),
        )

    def assemble(self, averages: dict[str, ChainAverages]) -> Observables:
        feature, gradient, prediction = averages[HIDDEN]
        return {
            "prediction": prediction,
            "feature_kernel": feature[None],
            "gradient_kernel": gradient[None],
            "tangent_kernel": _on_outputs(feature, self.outputs) + gradient * self._input_kernel,
        }

    @property
    def _input_kernel(self) -> Float[Array, "point 1 point 1"]:
        return self.inputs.gram[:, None, :, None]

    def direct_variance(self, sites: Sites, p: NeuronWeights) -> Observables:
        """As the general one, from fourth moments <v v' g g'> by matrix products.

        K is linear in the averages, d K = delta_cc' d(v v') + Phi^0 d(g g'), so its variance needs the variances of
        v v' and g g' and their covariance.
        """
        v, g, f = sites[HIDDEN]
        p_i = p[HIDDEN]
        means = self.averages(HIDDEN, sites[HIDDEN], p_i)
        feature = gram(v**2, p_i) - means.feature**2
        gradient = gram(g**2, p_i) - means.gradient**2
        same = jnp.eye(self.outputs)[None, :, None, :]
        cross = gram(v[:, None] * g, p_i) - means.feature[:, None, :, None] * means.gradient
        return {
            "prediction": (f - means.prediction[..., None]) ** 2 @ p_i,
            "feature_kernel": feature[None],
            "gradient_kernel": gradient[None],
            "tangent_kernel": _on_outputs(feature, self.outputs)
            + 2 * same * self._input_kernel * cross
            + self._input_kernel**2 * gradient,
        }


def _contributions(v: Float[Array, "point neuron"], w: Float[Array, "output neuron"]) -> Array:
    return v[:, None] * w


def _on_outputs(kernel: Float[Array, "point point"], outputs: int) -> Float[Array, "point output point output"]:
    """kernel times the identity among outputs."""
    return kernel[:, None, :, None] * jnp.eye(outputs)[None, :, None, :]
