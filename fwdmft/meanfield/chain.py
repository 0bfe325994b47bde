"""Field equations of a chain: input weights, local maps, Gaussian matrices between them, a readout.

    h^1 = W^0 x / sqrt(D) + sigma_b b^1        h^(l+1) = [h^l] + beta (W^l v^l / sqrt(N_l) + sigma_b b^(l+1))
    v^l = local_l(h^l)                         f_c = w_c . v^L / (gamma0 N_L)

[h^l] is there in residual chains only; beta is 1 in others. An architecture supplies only the forward local maps. With
g_c^l = gamma0 N d f_c / d h^l, backward fields, weight updates and kernels follow:

    g_c^L = (N / N_L) local_L'^T w_c           g_c^l = [g_c^(l+1)] + local_l'^T z_c^l
    z_c^l = beta W^l^T g_c^(l+1) / sqrt(N_l)
    Phi^l = <v v>    G^l = <g g>    K = n_1 G^1 Phi_b^0 + sum_l beta^2 n_(l+1) G^(l+1) Phi_b^l + delta_cc' Phi^L / n_L

with n_l = N_l / N, averages over the layer's own N_l neurons and Phi_b = Phi + sigma_b^2 (a bias is one more, constant
input). Weights that are not trained contribute no term. In a plain chain every layer is a population of its own; in a
residual one neuron i of a layer adds to neuron i of the next, so all layers are one population.

Source: Bordelon & Pehlevan 2022 (arXiv 2205.09653), with discrete time kept exact. Layers of unequal width follow from
the same expansion with N_l = n_l N.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield import gaussian_matrix, kernels
from fwdmft.meanfield.field_equations import Bases, FieldEquations, NeuronWeights, Observables, Sites, Update
from fwdmft.meanfield.gaussian_matrix import GaussianMatrix, Law
from fwdmft.meanfield.kernels import LayerKernels, LayerSites, PopulationAverages, PopulationSites, TangentKernel
from fwdmft.meanfield.neurons import Population, Supply
from fwdmft.meanfield.products import mix
from fwdmft.meanfield.weights import InputWeights, Trained, at_rest, heavy_ball
from fwdmft.meanfield.wiring import Wiring

LocalMap = Callable[[Float[Array, "point neuron"]], Float[Array, "point neuron"]]
PullBack = Callable[[Array], tuple[Array]]


class ChainState(NamedTuple):
    """h: (point, neuron) action of the input weights. biases: (neuron,) of the later layers, or None.

    w: (output, neuron). origin: w v at t = 0 per neuron (point, output, neuron), None if predictions are not centred.
    begun: whether it is known yet.
    """

    h: Trained
    matrices: tuple[GaussianMatrix, ...]
    biases: tuple[Trained | None, ...]
    w: Trained
    origin: Array | None
    begun: Array


class ChainActivity(NamedTuple):
    """What a forward and a backward pass found; tuples run over layers or matrices.

    v: (point, neuron) features. pull_back: vector-Jacobian products of the local maps. g: (point, output, neuron)
    backward fields of all layers but the first. z: (point, output, neuron) what arrives at the features of all layers
    but the last. v_coordinates: (capacity, point), g_coordinates: (capacity, point output), of what a matrix acted on.
    state: the state with its matrices as these passes left them.
    """

    v: tuple[Array, ...]
    pull_back: tuple[PullBack, ...]
    g: tuple[Array, ...]
    z: tuple[Array, ...]
    v_coordinates: tuple[Array, ...]
    g_coordinates: tuple[Array, ...]
    state: ChainState


class Chain(FieldEquations):
    """See the module docstring.

    gamma0: richness. local: one map per layer. capacities: rows of the bases of each matrix, forward and backward.
    axis: see `following`.
    """

    inputs: InputWeights
    gamma0: Array
    local: tuple[LocalMap, ...] = eqx.field(static=True)
    wiring: Wiring = eqx.field(static=True)
    capacities: tuple[tuple[int, int], ...] = eqx.field(static=True)
    axis: str | None = eqx.field(static=True, default=None)

    @property
    def populations(self) -> tuple[Population, ...]:
        last = self.wiring.depth - 1
        gaussians: dict[str, int] = {}
        for layer in range(self.wiring.depth):
            needed = self.wiring.outputs * (layer == last)
            needed += self.inputs.rank if layer == 0 else int(self.wiring.sigma_b > 0)
            name = self.wiring.population(layer)
            gaussians[name] = gaussians.get(name, 0) + needed
        width = {self.wiring.population(layer): n for layer, n in enumerate(self.wiring.widths)}
        return tuple(Population(name, count, width[name]) for name, count in gaussians.items())

    @property
    def supplies(self) -> tuple[Supply, ...]:
        found = []
        points, wiring = len(self.inputs.gram), self.wiring
        for m, (forward, backward) in enumerate(self.capacities):
            found.append(Supply(f"forward_{m + 1}", wiring.population(m + 1), forward, points))
            found.append(Supply(f"backward_{m + 1}", wiring.population(m), backward, points * wiring.outputs))
        return tuple(found)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {
            "prediction": ("point", "output"),
            "feature_kernel": ("layer", "point", "point_prime"),
            "gradient_kernel": ("layer", "point", "output", "point_prime", "output_prime"),
            "tangent_kernel": ("point", "output", "point_prime", "output_prime"),
        }

    def initial(self, noise: dict[str, Array], p: NeuronWeights, momentum: bool) -> ChainState:
        wiring, depth = self.wiring, self.wiring.depth
        left = {name: noise[name] for name in p}

        def take(layer: int, count: int) -> Array:
            name = wiring.population(layer)
            rows, left[name] = left[name][:count], left[name][count:]
            return rows

        w = wiring.sigma_w[-1] * take(depth - 1, wiring.outputs)
        h = self.inputs.initial(take(0, self.inputs.rank))
        biases = [
            at_rest(wiring.sigma_b * take(layer, 1)[0], momentum) if wiring.sigma_b else None
            for layer in range(1, depth)
        ]
        neurons = [len(p[wiring.population(layer)]) for layer in range(depth)]
        matrices = [
            gaussian_matrix.untouched(capacities, (neurons[m], neurons[m + 1]), momentum)
            for m, capacities in enumerate(self.capacities)
        ]
        origin = jnp.zeros((len(h), *w.shape)) if wiring.center else None
        begun = jnp.zeros((), bool)
        return ChainState(at_rest(h, momentum), tuple(matrices), tuple(biases), at_rest(w, momentum), origin, begun)

    def forward(self, state: ChainState, noise: dict[str, Array], p: NeuronWeights) -> tuple[Array, ChainActivity]:
        matrices = list(state.matrices)
        h = state.h.value
        v: list[Array] = []
        pull_back, v_coordinates = [], []
        for layer, local in enumerate(self.local):
            if layer > 0:
                matrices[layer - 1], product = gaussian_matrix.apply(
                    matrices[layer - 1], v[-1], noise[f"forward_{layer}"], *self._ends(layer - 1, p)
                )
                v_coordinates.append(product.coordinates)
                h = self._preactivation(h, product.value, state.biases[layer - 1])
            features, back = jax.vjp(local, h)
            v.append(features)
            pull_back.append(back)
        g, z, g_coordinates = self._backward(state.w.value, pull_back, matrices, noise, p)
        origin = state.origin
        if origin is not None:
            origin = jnp.where(state.begun, origin, _contributions(v[-1], state.w.value))
        state = state._replace(matrices=tuple(matrices), origin=origin, begun=jnp.ones_like(state.begun))
        activity = ChainActivity(tuple(v), tuple(pull_back), g, z, tuple(v_coordinates), g_coordinates, state)
        return jnp.sum(self._prediction(activity) * p[self._last], axis=-1), activity

    @property
    def _last(self) -> str:
        return self.wiring.population(self.wiring.depth - 1)

    def _ends(self, matrix: int, p: NeuronWeights) -> tuple[Array, Array, Law]:
        wiring, law = self.wiring, self.wiring.law(matrix)
        # What is learned moves vectors by a share gamma0^2 of their squared norm, and f is this movement over gamma0.
        law = law._replace(
            axis=self.axis, tolerance=law.tolerance * jnp.minimum(1.0, jax.lax.stop_gradient(self.gamma0) ** 2)
        )
        return p[wiring.population(matrix)], p[wiring.population(matrix + 1)], law

    def _preactivation(self, before: Array, arriving: Array, bias: Trained | None) -> Array:
        arriving = arriving if bias is None else arriving + bias.value
        return arriving if self.wiring.branch is None else before + self.wiring.branch * arriving

    def _backward(
        self,
        w: Array,
        pull_back: list[PullBack],
        matrices: list[GaussianMatrix],
        noise: dict[str, Array],
        p: NeuronWeights,
    ) -> tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]:
        """g, z and coordinates of g, see `ChainActivity`. `matrices` is extended by what is seen."""
        points, (outputs, _) = len(self.inputs.gram), w.shape
        above = jnp.broadcast_to(w / self.wiring.widths[-1], (points, *w.shape))
        g: list[Array] = []
        z: list[Array] = []
        coordinates: list[Array] = []
        for m in reversed(range(len(matrices))):
            g.insert(0, self._field(pull_back[m + 1], above, g))
            signals = (self.wiring.beta * g[0]).reshape(points * outputs, -1)
            matrices[m], product = gaussian_matrix.apply_transposed(
                matrices[m], signals, noise[f"backward_{m + 1}"], *self._ends(m, p)
            )
            coordinates.insert(0, product.coordinates)
            # z is a derivative in single neurons of unequally wide layers, W^T g / sqrt(N_in).
            scale = (self.wiring.widths[m + 1] / self.wiring.widths[m]) ** 0.5
            above = scale * product.value.reshape(points, outputs, -1)
            z.insert(0, above)
        return tuple(g), tuple(z), tuple(coordinates)

    def _field(self, pull_back: PullBack, arriving: Array, later: Sequence[Array]) -> Array:
        """g (point, output, neuron) from what arrives at a layer's features, in a residual chain also from `later`."""
        (g,) = jax.vmap(pull_back, in_axes=1, out_axes=1)(arriving)
        return g if self.wiring.branch is None or not later else g + later[0]

    def step(
        self, state: ChainState, activity: ChainActivity, residual: Array, update: Update, p: NeuronWeights
    ) -> ChainState:
        state, wiring = activity.state, self.wiring
        signals = [_mix_outputs(residual, g) for g in activity.g]
        h, w = state.h, state.w
        if wiring.trained[0]:
            first = self._first_signal(activity, residual)
            if wiring.branch is not None and signals:
                first = first + signals[0]
            h = heavy_ball(h, self.inputs.direction(first, self.gamma0), update)
        if wiring.trained[-1]:
            w = heavy_ball(w, self.gamma0 / wiring.widths[-1] * mix(residual.T, activity.v[-1]), update)
        matrices, biases = list(state.matrices), list(state.biases)
        for m, signal in enumerate(signals):
            if wiring.trained[m + 1]:
                scaled = self.gamma0 * wiring.beta * signal
                matrices[m] = self._learn(activity, m, scaled, residual, update)
                bias = biases[m]
                if bias is not None:
                    biases[m] = heavy_ball(bias, wiring.sigma_b**2 * jnp.sum(scaled, axis=0), update)
        return state._replace(h=h, w=w, matrices=tuple(matrices), biases=tuple(biases))

    def _first_signal(self, activity: ChainActivity, residual: Array) -> Float[Array, "point neuron"]:
        """sum_c Delta_c local'^T z_c of the first layer."""
        if activity.z:
            arriving = _mix_outputs(residual, activity.z[0])
        else:
            arriving = mix(residual, activity.state.w.value) / self.wiring.widths[-1]
        return activity.pull_back[0](arriving)[0]

    def _learn(
        self, activity: ChainActivity, matrix: int, signal: Array, residual: Array, update: Update
    ) -> GaussianMatrix:
        coordinates = activity.g_coordinates[matrix].reshape(-1, *residual.shape)
        return gaussian_matrix.learn(
            activity.state.matrices[matrix],
            signal,
            self.gamma0 * jnp.sum(coordinates * residual, axis=-1),
            activity.v[matrix],
            activity.v_coordinates[matrix],
            self.wiring.law(matrix),
            update,
        )

    def _prediction(self, activity: ChainActivity) -> Float[Array, "point output neuron"]:
        total = _contributions(activity.v[-1], activity.state.w.value)
        origin = activity.state.origin
        return (total if origin is None else total - origin) / self.gamma0

    def sites(self, state: ChainState, activity: ChainActivity, p: NeuronWeights) -> Sites:
        w = activity.state.w.value
        above = (*activity.z, jnp.broadcast_to(w / self.wiring.widths[-1], (len(self.inputs.gram), *w.shape)))
        first = self._field(activity.pull_back[0], above[0], activity.g)
        layers = [LayerSites(v, g) for v, g in zip(activity.v, (first, *activity.g), strict=True)]
        f = self._prediction(activity)
        if self.wiring.branch is not None:
            return {self._last: PopulationSites(tuple(layers), f)}
        before = [PopulationSites((layer,), jnp.zeros((0, *w.shape))) for layer in layers[:-1]]
        populations = (*before, PopulationSites((layers[-1],), f))
        return {self.wiring.population(layer): sites for layer, sites in enumerate(populations)}

    def prediction_sites(self, sites: Sites) -> dict[str, Array]:
        return {self._last: sites[self._last].f}

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.wiring.population(layer) for layer in range(self.wiring.depth))

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        return tuple(layer for population in self.populations for layer in sites[population.name].layers)

    def averages(self, population: str, sites: PopulationSites, p: Array) -> PopulationAverages:
        return kernels.averages(sites, p)

    @property
    def _tangent(self) -> TangentKernel:
        return TangentKernel(self.wiring.scales, self.inputs.gram, self.wiring.sigma_b)

    def assemble(self, averages: dict[str, PopulationAverages]) -> Observables:
        layers = self._layers(averages)
        return {
            "prediction": averages[self._last].prediction,
            "feature_kernel": jnp.stack([layer.feature for layer in layers]),
            "gradient_kernel": jnp.stack([layer.gradient for layer in layers]),
            "tangent_kernel": self._tangent.assemble(layers),
        }

    def _layers(self, averages: dict[str, PopulationAverages]) -> list[LayerKernels]:
        return [layer for population in self.populations for layer in averages[population.name].layers]

    def direct_variance(self, sites: Sites, p: NeuronWeights) -> Observables:
        """As the general one, from fourth moments of v and g by matrix products."""
        means = {name: self.averages(name, sites[name], p[name]) for name in sites}
        layers, tangent = self._layers(means), self._tangent
        feature: list[Array] = []
        gradient: list[Array] = []
        total = jnp.zeros(())
        for population in self.populations:
            name, n = population.name, population.width
            first = len(feature)
            feature += [kernels.pair_variance(layer.v, p[name]) / n for layer in sites[name].layers]
            gradient += [kernels.pair_variance(layer.g, p[name]) / n for layer in sites[name].layers]
            total = total + tangent.variance(layers, sites[name].layers, first, p[name]) / n
        last = sites[self._last].f - means[self._last].prediction[..., None]
        return {
            "prediction": last**2 @ p[self._last] / self.wiring.widths[-1],
            "feature_kernel": jnp.stack(feature),
            "gradient_kernel": jnp.stack(gradient),
            "tangent_kernel": total,
        }

    def bases(self, state: ChainState) -> Bases:
        if not state.matrices:
            return super().bases(state)
        sides = [side for matrix in state.matrices for side in (matrix.forward, matrix.backward)]
        return Bases(*(jnp.stack([getattr(side, name) for side in sides]) for name in ("rank", "dropped", "full")))

    def fitted(self, bases: Bases) -> "Chain":
        rank, full = np.asarray(bases.rank).tolist(), np.asarray(bases.full).tolist()
        blocks = _blocks(self.inputs, self.wiring) * len(self.capacities)
        old = [capacity for pair in self.capacities for capacity in pair]
        new = [
            _capacity(2 * capacity if over else 1.15 * used, block)
            for capacity, over, used, block in zip(old, full, rank, blocks, strict=True)
        ]
        return replace(self, capacities=tuple(zip(new[::2], new[1::2], strict=True)))

    def following(self, axis: str) -> "Chain | None":
        return replace(self, axis=axis) if self.capacities and self.wiring.smooth else None


def make_chain(
    x: Float[np.ndarray, "point feature"], local: Sequence[LocalMap], gamma0: float, wiring: Wiring
) -> Chain:
    """The chain on these points. Bases start with room for several times the vectors of a step, as is usual."""
    inputs = InputWeights(x, wiring.sigma_w[0], wiring.sigma_b)
    forward, backward = (_capacity(7 * block + 4, block) for block in _blocks(inputs, wiring))
    return Chain(
        inputs=inputs,
        gamma0=jnp.asarray(gamma0),
        local=tuple(local),
        wiring=wiring,
        capacities=((forward, backward),) * (wiring.depth - 1),
    )


def _blocks(inputs: InputWeights, wiring: Wiring) -> tuple[int, int]:
    """Vectors that a matrix acts on at once, forward and backward."""
    return len(inputs.gram), len(inputs.gram) * wiring.outputs


def _capacity(needed: float, block: int) -> int:
    """Rows that hold `needed` vectors and one more block, in multiples of four."""
    return 4 * math.ceil((needed + block + 1) / 4)


def _contributions(v: Float[Array, "point neuron"], w: Float[Array, "output neuron"]) -> Array:
    return v[:, None] * w


def _mix_outputs(residual: Float[Array, "point output"], fields: Float[Array, "point output neuron"]) -> Array:
    """sum_c Delta_c g_c at each point."""
    return jnp.sum(residual[..., None] * fields, axis=1)
