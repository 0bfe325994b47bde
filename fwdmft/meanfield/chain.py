"""Field equations of a chain: input weights, local maps, Gaussian matrices between them, a readout.

    h^1 = W^0 x / sqrt(D) + sigma_b b^1        h^(l+1) = [h^l] + beta (W^l u^l / sqrt(N_l) + sigma_b b^(l+1))
    v^l = local_l(h^l),  u^l = pool_l(v^l)     f_c = w_c . u^L / (gamma0 N_L)

[h^l] is there in residual chains only; beta is 1 in others. An architecture supplies only the forward local maps. With
g_c^l = gamma0 N d f_c / d h^l, backward fields, weight updates and kernels (`kernels`) follow:

    g_c^L = (N / N_L) (pool local)_L'^T w_c    g_c^l = [g_c^(l+1)] + (pool local)_l'^T z_c^l
    z_c^l = beta W^l^T g_c^(l+1) / sqrt(N_l)

with n_l = N_l / N and averages over the layer's own N_l neurons. Weights that are not trained contribute no term. In a
plain chain every layer is a population of its own; in a residual one neuron i of a layer adds to neuron i of the next,
so all layers are one population.

A layer of a convolutional network has fields h_a at several positions a, and its weights are banks that read some of
them at each place of the next (`positions`, `gaussian_matrix`): W v stands for sum_k W_k u_(a+k) / sqrt(n_k), the input
weights read patches of x, and w_c . u for sum_a w_ca . u_a / sqrt(A). Pooling averages over positions. In a fully
connected chain there is one position and u = v.

Source: Bordelon & Pehlevan 2022 (arXiv 2205.09653), with discrete time kept exact. Layers of unequal width follow from
the same expansion with N_l = n_l N.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft.meanfield import kernels, room
from fwdmft.meanfield.chain_state import (
    ChainActivity,
    ChainState,
    LocalMap,
    PullBack,
    contributions,
    mix_outputs,
    pooled_features,
)
from fwdmft.meanfield.field_equations import (
    Contribution,
    FieldEquations,
    Observables,
    Pairs,
    RandomMatrix,
    Sites,
    Update,
)
from fwdmft.meanfield.gaussian_matrix import Law
from fwdmft.meanfield.kernels import LayerKernels, LayerSites, PopulationAverages, PopulationSites, TangentKernel
from fwdmft.meanfield.neurons import Population, Supply
from fwdmft.meanfield.positions import Taps
from fwdmft.meanfield.products import mix
from fwdmft.meanfield.weights import (
    CarriedWeights,
    InputWeights,
    Trained,
    at_rest,
    carried_weights,
    heavy_ball,
    same_overlaps,
)
from fwdmft.meanfield.wiring import Wiring

TOLERANCE = 1e-6
"""What bases leave out of what is learned, squared, unless told otherwise."""


class Chain(FieldEquations):
    """See the module docstring.

    gamma0: richness. tolerance: share of what is learned that bases leave out, squared. moved: see `learned`.
    local: one map per layer. capacities: rows of the bases of each matrix, forward and backward.
    smooth: whether the local maps can be differentiated twice. kernel_points: see `at_kernel_points`.
    """

    inputs: InputWeights | CarriedWeights
    gamma0: Array
    tolerance: Array
    moved: Array
    local: tuple[LocalMap, ...] = eqx.field(static=True)
    wiring: Wiring = eqx.field(static=True)
    capacities: tuple[tuple[int, int], ...] = eqx.field(static=True)
    smooth: bool = eqx.field(static=True, default=False)
    kernel_points: Int[Array, " point"] | None = None

    @property
    def populations(self) -> tuple[Population, ...]:
        last = self.wiring.depth - 1
        gaussians: dict[str, int] = {}
        for layer in range(self.wiring.depth):
            needed = self.wiring.outputs * self.wiring.read_out * (layer == last)
            needed += self.inputs.rank if layer == 0 else int(self.wiring.sigma_b > 0)
            name = self.wiring.population(layer)
            gaussians[name] = gaussians.get(name, 0) + needed
        width = {self.wiring.population(layer): n for layer, n in enumerate(self.wiring.widths)}
        return tuple(Population(name, count, width[name]) for name, count in gaussians.items())

    @property
    def matrices(self) -> tuple[RandomMatrix, ...]:
        found = []
        wiring = self.wiring
        for m, (capacities, blocks) in enumerate(zip(self.capacities, self._blocks, strict=True)):
            source, target, law = wiring.population(m), wiring.population(m + 1), self._law(m)
            n = law.taps.offsets
            forward = Supply(f"forward_{m + 1}", target, n * capacities[0], n * blocks[0])
            backward = Supply(f"backward_{m + 1}", source, n * capacities[1], n * blocks[1])
            found.append(RandomMatrix(source, target, law, capacities, blocks, forward, backward))
        return tuple(found)

    @property
    def _points(self) -> int:
        return self.inputs.points // self.wiring.positions

    @property
    def _blocks(self) -> list[tuple[int, int]]:
        return self.wiring.blocks(self.inputs.most // self.wiring.positions)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {
            "prediction": ("point", "output"),
            "feature_kernel": ("layer", "point", "point_prime"),
            "gradient_kernel": ("layer", "point", "output", "point_prime", "output_prime"),
            "tangent_kernel": ("point", "output", "point_prime", "output_prime"),
        }

    def initial(
        self, noise: dict[str, Array], matrices: tuple[Any, ...], momentum: bool, averages: Any = None
    ) -> ChainState:
        wiring, depth = self.wiring, self.wiring.depth
        left = {population.name: noise[population.name] for population in self.populations}

        def take(layer: int, count: int) -> Array:
            name = wiring.population(layer)
            rows, left[name] = left[name][:count], left[name][count:]
            return rows

        w = wiring.sigma_w[-1] * take(depth - 1, wiring.outputs * wiring.read_out)
        w = w.reshape(wiring.outputs, wiring.read_out, -1)
        h = self.inputs.initial(take(0, self.inputs.rank))
        biases = [
            at_rest(wiring.sigma_b * take(layer, 1)[0], momentum) if wiring.sigma_b else None
            for layer in range(1, depth)
        ]
        origin = jnp.zeros((self._points, wiring.outputs, w.shape[-1]), w.dtype) if wiring.center else None
        begun = jnp.zeros((), bool)
        return ChainState(at_rest(h, momentum), matrices, tuple(biases), at_rest(w, momentum), origin, begun)

    def forward(self, state: ChainState, noise: dict[str, Array]) -> tuple[Array, ChainActivity]:
        matrices = list(state.matrices)
        h = self.inputs.preactivations(state.h.value).reshape(self._points, self.wiring.positions, -1)
        fields: list[Array] = []
        v: list[Array] = []
        u: list[Array] = []
        pull_back, u_coordinates = [], []
        for layer, local in enumerate(self.local):
            if layer > 0:
                matrices[layer - 1], product = matrices[layer - 1].apply(
                    u[-1], noise.get(f"forward_{layer}"), self._law(layer - 1)
                )
                u_coordinates.append(product.coordinates)
                h = self._preactivation(h, product.value, state.biases[layer - 1])
            pooled, back, features = jax.vjp(partial(pooled_features, local, self.wiring.pools[layer]), h, has_aux=True)
            fields.append(h)
            v.append(features)
            u.append(pooled)
            pull_back.append(back)
        g, z, g_coordinates = self._backward(state.w.value, pull_back, matrices, noise)
        origin = state.origin
        if origin is not None:
            origin = jnp.where(state.begun, origin, contributions(u[-1], state.w.value))
        state = state._replace(matrices=tuple(matrices), origin=origin, begun=jnp.ones_like(state.begun))
        ahead = tuple(fields), tuple(v), tuple(u), tuple(pull_back)
        activity = ChainActivity(*ahead, g, z, tuple(u_coordinates), g_coordinates, state)
        return jnp.mean(self._prediction(activity), axis=-1), activity

    @property
    def _last(self) -> str:
        return self.wiring.population(self.wiring.depth - 1)

    def _law(self, matrix: int) -> Law:
        # What is learned moves vectors by a share gamma0^2 of their squared norm, and f is this movement over gamma0.
        tolerance = self.tolerance * jnp.minimum(1.0, self.gamma0**2) * self.moved
        return self.wiring.law(matrix, tolerance)

    def _preactivation(self, before: Array, arriving: Array, bias: Trained | None) -> Array:
        arriving = arriving if bias is None else arriving + bias.value
        return arriving if self.wiring.branch is None else before + self.wiring.branch * arriving

    def _backward(
        self,
        w: Array,
        pull_back: list[PullBack],
        matrices: list[Any],
        noise: dict[str, Array],
    ) -> tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]:
        """g, z and coordinates of g, see `ChainActivity`. `matrices` is extended by what is seen."""
        points, outputs = self._points, self.wiring.outputs
        above = self._arriving(w)
        g: list[Array] = []
        z: list[Array] = []
        coordinates: list[Array] = []
        for m in reversed(range(len(matrices))):
            g.insert(0, self._field(pull_back[m + 1], above, g))
            signals = (self.wiring.beta * g[0]).reshape(points * outputs, *g[0].shape[2:])
            matrices[m], product = matrices[m].apply_transposed(signals, noise.get(f"backward_{m + 1}"), self._law(m))
            coordinates.insert(0, product.coordinates)
            # z is a derivative in single neurons of unequally wide layers, W^T g / sqrt(N_in).
            scale = (self.wiring.widths[m + 1] / self.wiring.widths[m]) ** 0.5
            above = scale * product.value.reshape(points, outputs, *product.value.shape[1:])
            z.insert(0, above)
        return tuple(g), tuple(z), tuple(coordinates)

    def _arriving(self, w: Array) -> Float[Array, "point output place neuron"]:
        """What the readout sends to the last layer's pooled features."""
        scaled = w / (self.wiring.widths[-1] * self.wiring.read_out**0.5)
        return jnp.broadcast_to(scaled, (self._points, *w.shape))

    def _field(self, pull_back: PullBack, arriving: Array, later: Sequence[Array]) -> Array:
        """g (point, output, position, neuron) from what arrives at pooled features, and from `later` layers of
        a residual chain."""
        (g,) = jax.vmap(pull_back, in_axes=1, out_axes=1)(arriving)
        return g if self.wiring.branch is None or not later else g + later[0]

    def remembered(self, state: ChainState, activity: ChainActivity) -> ChainState:
        return activity.state

    def current(self, state: ChainState) -> tuple[Any, ...]:
        return state.matrices

    def step(self, state: ChainState, activity: ChainActivity, residual: Array, update: Update) -> ChainState:
        state, wiring = activity.state, self.wiring
        signals = [mix_outputs(residual, g) for g in activity.g]
        h, w = state.h, state.w
        if wiring.trained[0]:
            first = self._first_signal(activity, residual)
            if wiring.branch is not None and signals:
                first = first + signals[0]
            first = first.reshape(-1, first.shape[-1])
            h = heavy_ball(h, self.inputs.direction(first, self.gamma0), update)
        if wiring.trained[-1]:
            features = activity.u[-1].reshape(self._points, -1)
            direction = mix(residual.T, features).reshape(w.value.shape)
            w = heavy_ball(w, self.gamma0 / (wiring.widths[-1] * wiring.read_out**0.5) * direction, update)
        matrices, biases = list(state.matrices), list(state.biases)
        for m, signal in enumerate(signals):
            if wiring.trained[m + 1]:
                scaled = self.gamma0 * wiring.beta * signal
                matrices[m] = self._learn(activity, m, scaled, residual, update)
                bias = biases[m]
                if bias is not None:
                    biases[m] = heavy_ball(bias, wiring.sigma_b**2 * jnp.sum(scaled, axis=(0, 1)), update)
        return state._replace(h=h, w=w, matrices=tuple(matrices), biases=tuple(biases))

    def _first_signal(self, activity: ChainActivity, residual: Array) -> Float[Array, "point position neuron"]:
        """sum_c Delta_c local'^T z_c of the first layer."""
        arriving = activity.z[0] if activity.z else self._arriving(activity.state.w.value)
        return activity.pull_back[0](mix_outputs(residual, arriving))[0]

    def _learn(self, activity: ChainActivity, matrix: int, signal: Array, residual: Array, update: Update) -> Any:
        coordinates = activity.g_coordinates[matrix]
        coordinates = coordinates.reshape(len(coordinates), *residual.shape, coordinates.shape[-1])
        return activity.state.matrices[matrix].learn(
            signal,
            self.gamma0 * jnp.sum(coordinates * residual[..., None], axis=2),
            activity.u[matrix],
            activity.u_coordinates[matrix],
            self._law(matrix),
            update,
        )

    def _prediction(self, activity: ChainActivity) -> Float[Array, "point output neuron"]:
        total = contributions(activity.u[-1], activity.state.w.value)
        origin = activity.state.origin
        return (total if origin is None else total - origin) / self.gamma0

    def arriving(self, activity: ChainActivity) -> tuple[Float[Array, "point output place neuron"], ...]:
        """z of every layer: what comes back to its pooled features from the weights behind them."""
        return (*activity.z, self._arriving(activity.state.w.value))

    def sites(self, activity: ChainActivity) -> Sites:
        above = self.arriving(activity)
        first = self._field(activity.pull_back[0], above[0], activity.g)
        pairs = zip(activity.v, (first, *activity.g), strict=True)
        layers = [LayerSites(self._at_kernel_points(v), self._at_kernel_points(g)) for v, g in pairs]
        f = self._prediction(activity)
        if self.wiring.branch is not None:
            return {self._last: PopulationSites(tuple(layers), f)}
        before = [PopulationSites((layer,), jnp.zeros((0, *f.shape[1:]))) for layer in layers[:-1]]
        populations = (*before, PopulationSites((layers[-1],), f))
        return {self.wiring.population(layer): sites for layer, sites in enumerate(populations)}

    def prediction_sites(self, sites: Sites) -> dict[str, Array]:
        return {self._last: sites[self._last].f}

    def contributions(self, activity: ChainActivity) -> dict[str, tuple[Contribution, ...]]:
        """Of a layer: u u' (kernels, overlaps with a basis), g g', z u' (predictions, responses), g h' (responses)."""
        found: dict[str, tuple[Contribution, ...]] = {}
        above = self.arriving(activity)
        first = self._field(activity.pull_back[0], above[0], activity.g)
        for layer, g in enumerate((first, *activity.g)):
            u, z, g, h = (a.reshape(-1, a.shape[-1]) for a in (activity.u[layer], above[layer], g, activity.h[layer]))
            name = self.wiring.population(layer)
            pairs = (Contribution(u, u), Contribution(g, g), Contribution(z, u), Contribution(g, h))
            found[name] = (*found.get(name, ()), *pairs)
        return found

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.wiring.population(layer) for layer in range(self.wiring.depth))

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        return tuple(layer for population in self.populations for layer in sites[population.name].layers)

    def averages(self, population: str, sites: PopulationSites) -> PopulationAverages:
        return kernels.averages(sites, self._pools(population), self._patches(population))

    def _patches(self, population: str) -> Float[Array, "point position rank"] | None:
        """Factors of the inputs' overlaps, for the population that the input weights lead to."""
        if population != self.wiring.population(0):
            return None
        return self._input_rows

    @property
    def _input_rows(self) -> Float[Array, "point position rank"]:
        root = self.inputs.root
        return self._at_kernel_points(root.reshape(self._points, self.wiring.positions, root.shape[1]))

    def _at_kernel_points(self, a: Float[Array, "point *rest"]) -> Float[Array, "kernel_point *rest"]:
        return a if self.kernel_points is None else a[self.kernel_points]

    def _pools(self, population: str) -> tuple[Taps, ...]:
        """Of the layers of a population."""
        pairs = zip(self.layers, self.wiring.pools, strict=True)
        return tuple(pool for name, pool in pairs if name == population)

    @property
    def _tangent(self) -> TangentKernel:
        wiring, rows = self.wiring, self._input_rows
        inputs = jnp.einsum("mak,nbk->manb", rows, rows)
        return TangentKernel(wiring.scales, inputs, wiring.sigma_b, wiring.pools, wiring.reading)

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

    def at_kernel_points(self, points: np.ndarray | None) -> "Chain":
        return replace(self, kernel_points=None if points is None else jnp.asarray(points))

    def with_room(self, capacities: Pairs) -> "Chain":
        return replace(self, capacities=capacities)

    def resolving(self, tolerance: float) -> "Chain":
        return replace(self, tolerance=jnp.asarray(tolerance))

    @property
    def learned(self) -> Float[Array, ""] | None:
        return self.moved if self.wiring.depth > 1 else None

    def learning(self, learned: float) -> "Chain":
        return replace(self, moved=jnp.asarray(learned))

    def carrying(self, x: np.ndarray, together: int) -> "Chain | None":
        wiring = self.wiring
        if x.ndim != 2 or wiring.positions > 1 or wiring.center:
            return None
        inputs = carried_weights(x, wiring.sigma_w[0], wiring.sigma_b, together)
        # Chains can be made of what was read off the points; those are not to be confused with the points.
        if not same_overlaps(inputs.root, self.inputs.root):
            return None
        return replace(self, inputs=inputs, capacities=room.at_first(wiring.blocks(inputs.most), times=7))

    def on(self, x: Float[Array, "point feature"]) -> FieldEquations:
        return replace(self, inputs=self.inputs.on(x)) if isinstance(self.inputs, CarriedWeights) else super().on(x)


def make_chain(
    x: Float[np.ndarray, "row feature"], local: Sequence[LocalMap], gamma0: float, wiring: Wiring, smooth: bool = False
) -> Chain:
    """The chain on these points; a row of x is what the input weights read of a point at a position of the first layer.

    Bases start with room for several times the vectors of a step, as is usual, or once over for many positions.
    """
    inputs = InputWeights(x, wiring.sigma_w[0], wiring.sigma_b)
    times = 7 if wiring.positions == 1 else 1
    capacities = room.at_first(wiring.blocks(len(x) // wiring.positions), times)
    return Chain(
        inputs=inputs,
        gamma0=jnp.asarray(gamma0),
        tolerance=jnp.asarray(TOLERANCE),
        moved=jnp.asarray(1.0),
        local=tuple(local),
        wiring=wiring,
        capacities=capacities,
        smooth=smooth,
    )
