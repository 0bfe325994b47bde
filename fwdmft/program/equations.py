"""Field equations of a forward program: everything that the engine asks, derived from the forward pass alone."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft.meanfield import room
from fwdmft.meanfield.field_equations import (
    Contribution,
    FieldEquations,
    Observables,
    Pairs,
    RandomMatrix,
    Update,
)
from fwdmft.meanfield.gaussian_matrix import Law
from fwdmft.meanfield.kernels import LayerSites
from fwdmft.meanfield.neurons import Population, Supply
from fwdmft.meanfield.products import mix
from fwdmft.meanfield.weights import CarriedWeights, InputWeights, Trained, at_rest, carried_weights, heavy_ball
from fwdmft.program import kernels
from fwdmft.meanfield.averages import Averages, plain
from fwdmft.program.finite import ProgramNetwork, program_network
from fwdmft.program.kernels import PopulationAverages, PopulationSites
from fwdmft.program.net import Forward, Program
from fwdmft.program.reading import Additions, Fed, Forwards, additions, linearised, vectors, zero_like
from fwdmft.program.structure import ProgramError, Structure, flat, structure

TOLERANCE = 1e-6
"""What bases leave out of what is learned, squared, unless told otherwise."""

OBSERVED = "observed"
"""Key of the order parameters that a program observes, among the sites."""


class ProgramState(NamedTuple):
    """Of all weights, in the order of the structure.

    inputs: action of the input weights on their rows, or those themselves (see `weights`). vectors: scale theta.
    readouts: (output, site, neuron). origin: contributions to the predictions at t = 0 per neuron of each readout (point,
    output, neuron), None if predictions are not centred. begun: whether they are known yet.
    """

    inputs: tuple[Trained, ...]
    matrices: tuple[Any, ...]
    vectors: tuple[Trained, ...]
    readouts: tuple[Trained, ...]
    averages: Averages
    origin: tuple[Array, ...] | None
    begun: Array


class ProgramActivity(NamedTuple):
    """What a forward and a backward pass found, all derivatives being those of gamma0 f, N times those at width N.

    into: of what goes into every cut (point, output, site, neuron). added: of everything else. coordinates: of the
    vectors that each matrix acted on backwards, for every use. state: as these passes left it.
    """

    forwards: Forwards
    into: tuple[Array, ...]
    added: Additions
    coordinates: tuple[tuple[Array, ...], ...]
    state: ProgramState


class ForwardProgram(FieldEquations):
    """See the module docstring.

    x: points (point, ...) that the program is shown. gamma0: richness. tolerance: share of what is learned that bases
    leave out, squared. moved: see `learned`. program: forward(net, x). capacities: rows of the bases of each matrix,
    forward and backward. widths: of populations in units of N. twice: whether what the program does to neurons can be
    differentiated twice. kernel_points: see `at_kernel_points`. together: most points that are shown at once.
    """

    x: Array
    inputs: tuple[InputWeights | CarriedWeights, ...]
    gamma0: Array
    tolerance: Array
    moved: Array
    program: Forward = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    capacities: Pairs = eqx.field(static=True)
    widths: tuple[tuple[str, float], ...] = eqx.field(static=True)
    center: bool = eqx.field(static=True)
    twice: bool = eqx.field(static=True)
    together: int = eqx.field(static=True)
    kernel_points: Int[Array, " point"] | None = None

    @property
    def width(self) -> dict[str, float]:
        return {name: 1.0 for name in self.structure.populations} | dict(self.widths)

    @property
    def smooth(self) -> bool:
        return self.twice and not self.structure.averages

    @property
    def populations(self) -> tuple[Population, ...]:
        found = []
        for name in self.structure.populations:
            own = [math.prod(shape) for shape in self._numbers(name)]
            found.append(Population(name, sum(own), self.width[name]))
        return tuple(found)

    def _numbers(self, population: str) -> list[tuple[int, ...]]:
        """Shapes of the random numbers that a neuron carries: of readouts, input weights, vectors."""
        readouts = [(self.outputs, each.places) for each in self.structure.readouts if each.population == population]
        pairs = zip(self.structure.inputs, self.inputs, strict=True)
        inputs = [(weights.rank,) for each, weights in pairs if each.population == population]
        return [*readouts, *inputs, *(each.shape for each in self.structure.vectors if each.population == population)]

    @property
    def matrices(self) -> tuple[RandomMatrix, ...]:
        found = []
        blocks = block_sizes(self.structure, self.together, self.outputs)
        for number, (matrix, capacities) in enumerate(zip(self.structure.matrices, self.capacities, strict=True)):
            law, uses = self._law(number), len(matrix.uses)
            n, steps = law.taps.offsets, _totals(blocks[number])
            forward = Supply(f"forward_{matrix.name}", matrix.target, n * capacities[0], n * steps[0])
            backward = Supply(f"backward_{matrix.name}", matrix.source, n * capacities[1], n * steps[1])
            largest = max(each[0] for each in blocks[number]), max(each[1] for each in blocks[number])
            found.append(RandomMatrix(matrix.source, matrix.target, law, capacities, largest, forward, backward, uses))
        return tuple(found)

    def _law(self, number: int) -> Law:
        # What is learned moves vectors by a share gamma0^2 of their squared norm, and f is this movement over gamma0.
        matrix, width = self.structure.matrices[number], self.width
        tolerance = self.tolerance * jnp.minimum(1.0, self.gamma0**2) * self.moved
        return Law(matrix.sigma, width[matrix.source] / width[matrix.target], tolerance, matrix.taps)

    @property
    def averages_taken(self) -> tuple[tuple[int, ...], ...]:
        return tuple(each.sites for each in self.structure.averages)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {
            "prediction": ("point", "output"),
            "feature_kernel": ("layer", "point", "point_prime"),
            "gradient_kernel": ("layer", "point", "output", "point_prime", "output_prime"),
            "tangent_kernel": ("point", "output", "point_prime", "output_prime"),
        } | dict(self.structure.observed)

    def initial(
        self, noise: dict[str, Array], matrices: tuple[Any, ...], momentum: bool, averages: Averages | None = None
    ) -> ProgramState:
        left = {name: list(self._split(name, noise[name])) for name in self.structure.populations}
        readouts = [each.sigma * left[each.population].pop(0) for each in self.structure.readouts]
        pairs = zip(self.structure.inputs, self.inputs, strict=True)
        inputs = [weights.initial(left[each.population].pop(0)) for each, weights in pairs]
        numbers = [
            each.scale * (each.mean + each.sigma * left[each.population].pop(0)) for each in self.structure.vectors
        ]
        shape = len(self.x), self.outputs
        origin = tuple(jnp.zeros((*shape, w.shape[-1]), w.dtype) for w in readouts) if self.center else None
        rest = partial(at_rest, momentum=momentum)
        return ProgramState(
            tuple(map(rest, inputs)),
            matrices,
            tuple(map(rest, numbers)),
            tuple(map(rest, readouts)),
            plain() if averages is None else averages,
            origin,
            jnp.zeros((), bool),
        )

    def _split(self, population: str, rows: Float[Array, "number neuron"]) -> list[Array]:
        found, start = [], 0
        for shape in self._numbers(population):
            end = start + math.prod(shape)
            found.append(rows[start:end].reshape(*shape, rows.shape[-1]))
            start = end
        return found

    def forward(self, state: ProgramState, noise: dict[str, Array]) -> tuple[Array, ProgramActivity]:
        counts = {name: noise[name].shape[-1] for name in self.structure.populations}
        laws = tuple(map(self._law, range(len(state.matrices))))

        def supplies(side: str) -> tuple[Array | None, ...]:
            return tuple(noise.get(f"{side}_{matrix.name}") for matrix in self.structure.matrices)

        action = tuple(
            partial(self._action, number, weights.value) for number, weights in enumerate(state.inputs)
        )
        numbers = tuple(each.value for each in state.vectors)
        fed = Fed(action, numbers, state.matrices, laws, supplies("forward"), state.averages)
        dtype = state.readouts[0].value.dtype
        zero = additions(self.structure, len(self.x), counts, dtype)
        run = linearised(self.program, self.x, self.structure, fed, zero, self.outputs)
        activity = self._backward(run, state, laws, supplies("backward"), counts)
        state, origin = activity.state, activity.state.origin
        if origin is not None:
            now = self._contributions(activity)
            origin = tuple(jnp.where(state.begun, old, new) for old, new in zip(origin, now, strict=True))
        state = state._replace(origin=origin, begun=jnp.ones_like(state.begun))
        activity = activity._replace(state=state)
        f = sum(jnp.mean(each, axis=-1) for each in self._predictions(activity))
        return jnp.asarray(f), activity

    def _action(self, number: int, value: Array, x: Array, call: int) -> Float[Array, "point *site neuron"]:
        """Of input weights, on the x of a call."""
        weights, each = self.inputs[number], self.structure.inputs[number]
        if isinstance(weights, CarriedWeights):
            h = weights.on(x.reshape(-1, x.shape[-1])).preactivations(value)
        else:
            start = sum(each.rows[:call])
            h = weights.preactivations(value).reshape(len(self.x), sum(each.rows), -1)
            h = h[:, start : start + each.rows[call]]
        return h.reshape(len(self.x), *each.calls[call], -1)

    def _backward(
        self,
        run: Any,
        state: ProgramState,
        laws: tuple[Law, ...],
        noise: tuple[Array | None, ...],
        counts: dict[str, int],
    ) -> ProgramActivity:
        width, structure, points = self.width, self.structure, len(self.x)
        # Cotangents of single neurons are small as 1 / S. All are scaled by one number, and again where populations have
        # other numbers of neurons than their widths say.
        size = counts[structure.populations[0]] / width[structure.populations[0]]
        share = {name: counts[name] / width[name] / size for name in counts}

        def whole(population: str, cotangent: Array) -> Array:
            return cotangent if share[population] == 1.0 else share[population] * cotangent

        forwards = run.forwards
        matrices = list(forwards.matrices)
        total = zero_like(run.zero, self.outputs)
        into: list[Array] = []
        slopes: list[Array] = []
        coordinates: list[list[Array]] = [[] for _ in matrices]
        for number in reversed(range(len(structure.cuts))):
            cut, entering = structure.cuts[number], forwards.into[number]
            shape = points, self.outputs, *entering.shape[1:]
            if cut.kind == "readout":
                readout = structure.readouts[cut.number]
                w = state.readouts[cut.number].value / (width[readout.population] * readout.places**0.5)
                population, back = readout.population, jnp.broadcast_to(w, (points, *w.shape)).reshape(shape)
            elif cut.kind == "matrix":
                matrix, law = structure.matrices[cut.number], laws[cut.number]
                population = matrix.source
                signal = vectors(whole(matrix.target, total.products[cut.number][cut.use]), matrix.taps, axes=2)
                matrices[cut.number], product = matrices[cut.number].apply_transposed(
                    signal.reshape(-1, *signal.shape[3:]), noise[cut.number], law
                )
                coordinates[cut.number].insert(0, product.coordinates)
                # A derivative in single neurons of unequally wide layers is W^T D / sqrt(N_source).
                back = (width[matrix.target] / width[matrix.source]) ** 0.5 * product.value.reshape(shape)
            else:
                population = structure.averages[cut.number].population
                slope = state.averages.slope(cut.number, total.averages[cut.number] / size)
                slopes.insert(0, slope)
                back = jnp.broadcast_to((slope / width[population])[..., None], shape)
            into.insert(0, back)
            cotangent = back if share[population] == 1.0 else back / share[population]
            total = jax.tree.map(jnp.add, total, run.pulled_back(number, cotangent))
        every = zip(structure.inputs, total.inputs, strict=True)
        inputs = tuple(tuple(whole(each.population, a) for a in found) for each, found in every)
        targets = zip(structure.matrices, total.products, strict=True)
        added = Additions(
            inputs,
            tuple(tuple(whole(matrix.target, a) for a in found) for matrix, found in targets),
            tuple(whole(each.population, a) for each, a in zip(structure.vectors, total.vectors, strict=True)),
            total.averages,
            tuple(whole(each.population, a) for each, a in zip(structure.layers, total.layers, strict=True)),
        )
        averages = state.averages.after(list(forwards.averages), slopes)
        state = state._replace(matrices=tuple(matrices), averages=averages)
        return ProgramActivity(forwards, tuple(into), added, tuple(map(tuple, coordinates)), state)

    def _read(self, activity: ProgramActivity) -> list[Float[Array, "point site neuron"]]:
        """What each readout reads."""
        found = {cut.number: a for cut, a in zip(self.structure.cuts, activity.forwards.into, strict=True) if cut.kind == "readout"}
        return [flat(found[number]) for number in range(len(found))]

    def _contributions(self, activity: ProgramActivity) -> list[Float[Array, "point output neuron"]]:
        """w . v / sqrt(A) of every neuron, for each readout."""
        pairs = zip(self._read(activity), activity.state.readouts, strict=True)
        return [jnp.sum(v[:, None] * w.value, axis=2) / w.value.shape[1] ** 0.5 for v, w in pairs]

    def _predictions(self, activity: ProgramActivity) -> list[Float[Array, "point output neuron"]]:
        now, origin = self._contributions(activity), activity.state.origin
        if origin is not None:
            now = [new - old for new, old in zip(now, origin, strict=True)]
        return [each / self.gamma0 for each in now]

    def remembered(self, state: ProgramState, activity: ProgramActivity) -> ProgramState:
        return activity.state

    def current(self, state: ProgramState) -> tuple[Any, ...]:
        return state.matrices

    def recorded_averages(self, state: ProgramState) -> Averages:
        return state.averages

    def step(self, state: ProgramState, activity: ProgramActivity, residual: Array, update: Update) -> ProgramState:
        state, structure, gamma0 = activity.state, self.structure, self.gamma0

        def signal(gradient: Float[Array, "point output *site neuron"]) -> Float[Array, "point *site neuron"]:
            """sum_c Delta_c D_c"""
            return jnp.sum(residual.reshape(*residual.shape, *(1,) * (gradient.ndim - 2)) * gradient, axis=1)

        inputs = list(state.inputs)
        for number, each in enumerate(structure.inputs):
            if each.trained:
                rows = jnp.concatenate([flat(signal(a)) for a in activity.added.inputs[number]], axis=1)
                weights = self._weights(number, activity)
                direction = weights.direction(rows.reshape(-1, rows.shape[-1]), gamma0)
                inputs[number] = heavy_ball(inputs[number], direction, update)
        numbers = list(state.vectors)
        for number, vector in enumerate(structure.vectors):
            if vector.trained:
                direction = gamma0 * vector.scale**2 * jnp.sum(signal(activity.added.vectors[number]), axis=0)
                numbers[number] = heavy_ball(numbers[number], direction, update)
        readouts = list(state.readouts)
        for number, (readout, v) in enumerate(zip(structure.readouts, self._read(activity), strict=True)):
            if readout.trained:
                w = readouts[number]
                direction = mix(residual.T, v.reshape(len(v), -1)).reshape(w.value.shape)
                scale = gamma0 / (self.width[readout.population] * readout.places**0.5)
                readouts[number] = heavy_ball(w, scale * direction, update)
        matrices = list(state.matrices)
        for number, matrix in enumerate(structure.matrices):
            if matrix.trained:
                matrices[number] = self._learn(number, activity, residual, signal, update)
        return state._replace(
            inputs=tuple(inputs), matrices=tuple(matrices), vectors=tuple(numbers), readouts=tuple(readouts)
        )

    def _weights(self, number: int, activity: ProgramActivity) -> InputWeights | CarriedWeights:
        """Input weights that know the rows they read."""
        weights = self.inputs[number]
        if not isinstance(weights, CarriedWeights):
            return weights
        rows = jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in activity.forwards.read[number]], axis=1)
        return weights.on(rows.reshape(-1, rows.shape[-1]))

    def _ahead(self, number: int, activity: ProgramActivity) -> list[Float[Array, "point vector position neuron"]]:
        """The vectors that a matrix acted on, use by use."""
        pairs = zip(self.structure.cuts, activity.forwards.into, strict=True)
        taps = self.structure.matrices[number].taps
        return [vectors(a, taps) for cut, a in pairs if cut.kind == "matrix" and cut.number == number]

    def _learn(self, number: int, activity: ProgramActivity, residual: Array, signal: Any, update: Update) -> Any:
        matrix = self.structure.matrices[number]
        signals = [vectors(self.gamma0 * signal(a), matrix.taps) for a in activity.added.products[number]]

        def mixed(coordinates: Array, signal: Array) -> Float[Array, "capacity vector place"]:
            (points, outputs), (each, places) = residual.shape, signal.shape[1:3]
            split = coordinates.reshape(len(coordinates), points, outputs, each, places)
            split = jnp.sum(split * residual[..., None, None], axis=2)
            return self.gamma0 * split.reshape(len(split), points * each, places)

        def joined(blocks: Sequence[Array], axis: int) -> Array:
            return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=axis)

        return activity.state.matrices[number].learn(
            joined([a.reshape(-1, *a.shape[2:]) for a in signals], 0),
            joined([mixed(a, s) for a, s in zip(activity.coordinates[number], signals, strict=True)], 1),
            joined([a.reshape(-1, *a.shape[2:]) for a in self._ahead(number, activity)], 0),
            joined(activity.forwards.coordinates[number], 1),
            self._law(number),
            update,
        )

    def sites(self, activity: ProgramActivity) -> dict[str, Any]:
        found: dict[str, Any] = {name: self._sites(name, activity) for name in self.structure.populations}
        return found | ({OBSERVED: activity.forwards.observed} if activity.forwards.observed else {})

    def _sites(self, population: str, activity: ProgramActivity) -> PopulationSites:
        structure, forwards, at = self.structure, activity.forwards, self._at_kernel_points

        def joined(blocks: Sequence[Array], axis: int) -> Array:
            return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=axis)

        layers = [
            LayerSites(at(flat(v)), at(flat(g, 2)))
            for each, v, g in zip(structure.layers, forwards.v, activity.added.layers, strict=True)
            if each.population == population
        ]
        matrices = [(number, each) for number, each in enumerate(structure.matrices) if each.trained]
        ahead = [
            at(joined(self._ahead(number, activity), 1)) for number, each in matrices if each.source == population
        ]
        back = [
            at(joined([vectors(a, each.taps, axes=2) for a in activity.added.products[number]], 2))
            for number, each in matrices
            if each.target == population
        ]
        inputs = [
            self._arriving(number, activity)
            for number, each in enumerate(structure.inputs)
            if each.trained and each.population == population
        ]
        numbers = [
            at(flat(a, 2))
            for each, a in zip(structure.vectors, activity.added.vectors, strict=True)
            if each.trained and each.population == population
        ]
        pairs = zip(structure.readouts, self._read(activity), strict=True)
        readouts = [at(v) for each, v in pairs if each.trained and each.population == population]
        f = [
            each
            for readout, each in zip(structure.readouts, self._predictions(activity), strict=True)
            if readout.population == population
        ]
        nothing = jnp.zeros((0, self.outputs, activity.forwards.v[0].shape[-1]))
        return PopulationSites(
            *map(tuple, (layers, ahead, back, inputs, numbers, readouts)), sum(f[1:], f[0]) if f else nothing
        )

    def _arriving(self, number: int, activity: ProgramActivity) -> Float[Array, "point output k neuron"]:
        """y_k of `kernels`, or D h itself at a single row of x."""
        gradients = activity.added.inputs[number]
        flattened = [self._at_kernel_points(flat(a, 2)) for a in gradients]
        joined = flattened[0] if len(flattened) == 1 else jnp.concatenate(flattened, axis=2)
        if joined.shape[2] == 1:
            return joined
        return jnp.einsum("mak,mcan->mckn", self._rows(number, activity), joined)

    def _rows(self, number: int, activity: ProgramActivity | None) -> Float[Array, "point row rank"]:
        weights = self.inputs[number] if activity is None else self._weights(number, activity)
        return self._at_kernel_points(weights.root.reshape(len(self.x), -1, weights.root.shape[1]))

    def prediction_sites(self, sites: dict[str, Any]) -> dict[str, Array]:
        return {readout.population: sites[readout.population].f for readout in self.structure.readouts}

    def contributions(self, activity: ProgramActivity) -> dict[str, tuple[Contribution, ...]]:
        """Of what goes into cuts, v: v v' (kernels, overlaps with a basis) and D v v' (predictions, responses); of
        layers, or else of products z: g g' and g h'; of averages what they are taken of."""
        structure, forwards = self.structure, activity.forwards
        found: dict[str, list[Contribution]] = {name: [] for name in structure.populations}

        def rows(a: Array) -> Float[Array, "row neuron"]:
            return a.reshape(-1, a.shape[-1])

        def add(population: str, left: Array, right: Array) -> None:
            a, b = rows(left), rows(right)
            found[population] += [Contribution(a, a), Contribution(b, a)]

        for cut, a, back in zip(structure.cuts, forwards.into, activity.into, strict=True):
            if cut.kind == "average":
                own = rows(a)
                found[structure.averages[cut.number].population].append(Contribution(own, jnp.ones_like(own[:1])))
            else:
                source = structure.matrices[cut.number].source if cut.kind == "matrix" else structure.readouts[cut.number].population
                add(source, a, back)
        for layer, h, g in zip(structure.layers, forwards.h, activity.added.layers, strict=True):
            a, b = rows(g), rows(h)
            found[layer.population] += [Contribution(a, a), Contribution(a, b)]
        shown = {layer.population for layer in structure.layers}
        for number, matrix in enumerate(structure.matrices):
            if matrix.target not in shown:
                for z, gradient in zip(forwards.products[number], activity.added.products[number], strict=True):
                    a, b = rows(gradient), rows(z)
                    found[matrix.target] += [Contribution(a, a), Contribution(a, b)]
        return {name: tuple(pairs) for name, pairs in found.items() if pairs}

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(layer.population for layer in self.structure.layers)

    def layer_sites(self, sites: dict[str, Any]) -> tuple[LayerSites, ...]:
        left = {name: list(sites[name].layers) for name in self.structure.populations}
        return tuple(left[name].pop(0) for name in self.layers)

    def averages(self, population: str, sites: Any) -> Any:
        return sites if population == OBSERVED else kernels.averages(sites)

    def assemble(self, averages: dict[str, Any]) -> Observables:
        found: dict[str, PopulationAverages] = {name: averages[name] for name in self.structure.populations}
        left = {name: list(each.layers) for name, each in found.items()}
        layers = [left[name].pop(0) for name in self.layers]
        overlaps = tuple(
            self._overlap(number) if sum(each.rows) == 1 else None for number, each in enumerate(self.structure.inputs)
        )
        readout = dict.fromkeys(each.population for each in self.structure.readouts)
        prediction = [found[name].prediction for name in readout]
        return {
            "prediction": sum(prediction[1:], prediction[0]),
            "feature_kernel": jnp.stack([layer.feature for layer in layers]),
            "gradient_kernel": jnp.stack([layer.gradient for layer in layers]),
            "tangent_kernel": kernels.tangent_kernel(self.structure, self.width, overlaps, found, self.outputs),
        } | averages.get(OBSERVED, {})

    def _overlap(self, number: int) -> Float[Array, "point point"]:
        rows = self._rows(number, None)[:, 0]
        return rows @ rows.T

    def _at_kernel_points(self, a: Float[Array, "point *rest"]) -> Float[Array, "kernel_point *rest"]:
        return a if self.kernel_points is None else a[self.kernel_points]

    def at_kernel_points(self, points: np.ndarray | None) -> "ForwardProgram":
        return replace(self, kernel_points=None if points is None else jnp.asarray(points))

    def with_room(self, capacities: Pairs) -> "ForwardProgram":
        return replace(self, capacities=capacities)

    def resolving(self, tolerance: float) -> "ForwardProgram":
        return replace(self, tolerance=jnp.asarray(tolerance))

    @property
    def learned(self) -> Float[Array, ""] | None:
        return self.moved if self.structure.matrices else None

    def learning(self, learned: float) -> "ForwardProgram":
        return replace(self, moved=jnp.asarray(learned))

    def carrying(self, x: np.ndarray, together: int) -> "ForwardProgram | None":
        # Programs can be shown what was read off the points; those are not to be confused with the points.
        if self.center or x.shape != self.x.shape or not np.array_equal(x, np.asarray(self.x)):
            return None
        found = structure(self.program, x, self.outputs)
        inputs = tuple(
            carried_weights(_joined(found.rows[each.name]), each.sigma, each.bias, 0)
            for each in self.structure.inputs
        )
        together = max(len(x), together)
        capacities = _capacities(self.structure, together, self.outputs)
        return replace(self, inputs=inputs, together=together, capacities=capacities)

    def network(self, width: int, gamma0: float, key: Array) -> ProgramNetwork:
        """The same program with numbers for weights: a network of width N and of this richness."""
        neurons = {name: round(factor * width) for name, factor in self.width.items()}
        return program_network(self.program, self.structure, self.outputs, gamma0, neurons, key)

    def on(self, x: Float[Array, "point ..."]) -> FieldEquations:
        carried = all(isinstance(weights, CarriedWeights) for weights in self.inputs)
        return replace(self, x=x) if carried else super().on(x)


def block_sizes(structure: Structure, points: int, outputs: int) -> list[list[tuple[int, int]]]:
    """Vectors that each use of each matrix acts on at once, forward and backward."""
    found = []
    for matrix in structure.matrices:
        each = [points * matrix.vectors(use) for use in range(len(matrix.uses))]
        found.append([(n * matrix.taps.sources, n * matrix.taps.places * outputs) for n in each])
    return found


def _totals(blocks: list[tuple[int, int]]) -> tuple[int, int]:
    """Of all uses in a step."""
    return sum(each[0] for each in blocks), sum(each[1] for each in blocks)


def _capacities(structure: Structure, points: int, outputs: int) -> Pairs:
    """Bases start with room for several times the vectors of a step, as is usual, or once over for many positions."""
    totals = [_totals(blocks) for blocks in block_sizes(structure, points, outputs)]
    many = any(matrix.taps.sources > 1 for matrix in structure.matrices)
    return room.at_first(totals, 1 if many else 7)


def _joined(rows: Float[np.ndarray, "point row feature"]) -> Float[np.ndarray, "row feature"]:
    return rows.reshape(-1, rows.shape[-1])


def forward_program(
    forward: Callable[..., Array],
    x: np.ndarray,
    outputs: int,
    gamma0: float,
    *arguments: Hashable,
    center: bool = True,
    widths: Mapping[str, float] | None = None,
    smooth: bool = False,
) -> ForwardProgram:
    """Field equations of a program on points x (point, ...).

    forward: called as forward(net, x, *arguments), see `net`; a program is compiled once for equal arguments. outputs:
    number of outputs. gamma0: richness. center: train and report f(t) - f(0). widths: of populations in units of N, 1
    if left out. smooth: whether everything that the program does to neurons can be differentiated twice; then networks
    with a single hidden layer need no draws.
    Raises ProgramError for a program that breaks a rule of `Net`, InputError for inputs that are all zero.
    """
    program = Program(forward, arguments)
    found = structure(program, x, outputs)
    seen, given = found.structure, dict(widths or {})
    unknown = set(given) - set(seen.populations)
    if unknown:
        raise ProgramError(f"widths of populations {sorted(unknown)}; the program has {', '.join(seen.populations)}")
    inputs = tuple(InputWeights(_joined(found.rows[each.name]), each.sigma, each.bias) for each in seen.inputs)
    return ForwardProgram(
        x=jnp.asarray(x),
        inputs=inputs,
        gamma0=jnp.asarray(gamma0),
        tolerance=jnp.asarray(TOLERANCE),
        moved=jnp.asarray(1.0),
        program=program,
        structure=seen,
        outputs=outputs,
        capacities=_capacities(seen, len(x), outputs),
        widths=tuple(sorted(given.items())),
        center=center,
        twice=smooth,
        together=len(x),
    )
