"""Field equations of a forward program: everything that the engine asks, derived from the forward pass alone."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fwdmft.engine.field_equations import (
    FieldEquations,
    Noise,
    Observables,
    Pairs,
    RandomMatrix,
    Unsupported,
)
from fwdmft.engine.layer_sites import LayerSites
from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.neurons import Population, Supply, cut, whole_neurons
from fwdmft.engine.products import mix
from fwdmft.engine.update import Update, at_rest, heavy_ball
from fwdmft.observables import OBSERVABLES
from fwdmft.program import kernels
from fwdmft.program.backward import backward
from fwdmft.program.blocks import block_sizes, first_capacities, totals
from fwdmft.program.finite import ProgramNetwork, program_network
from fwdmft.program.kernels import PopulationAverages
from fwdmft.program.net import Forward
from fwdmft.program.reading import Fed, Forwards, additions, linearised, vectors
from fwdmft.program.sites import acted_on, contributions_to_f, joined, population_sites, what_is_read
from fwdmft.program.state import ProgramFields, ProgramState
from fwdmft.program.structure import USUAL, Structure, flat, structure
from fwdmft.program.weights import CarriedWeights, InputWeights, carried_weights

OBSERVED = "observed"
"""Key of the order parameters that a program observes, among the sites."""

GRADIENTS = "gradients"
"""Key of what K takes from the gradients of matrices, among the averages."""


class ForwardProgram(FieldEquations):
    """See the module docstring.

    x: points (point, ...) that the program is shown. gamma0: richness. tolerance: share of what is learned that bases
    leave out, squared. moved: see `learned`. program: forward(net, x). capacities: rows of the bases of each matrix,
    forward and backward. widths: of populations in units of N. twice: whether what the program does to neurons can be
    differentiated twice. kernel_points: see `at_kernel_points`. together: most points that are shown at once.
    """

    x: Float[Array, "point ..."]
    inputs: tuple[InputWeights | CarriedWeights, ...]
    gamma0: Float[Array, ""]
    tolerance: Float[Array, ""]
    moved: Float[Array, ""]
    program: Forward = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    capacities: Pairs = eqx.field(static=True)
    widths: tuple[tuple[str, float], ...] = eqx.field(static=True)
    center: bool = eqx.field(static=True)
    twice: bool = eqx.field(static=True)
    together: int = eqx.field(static=True)
    kernel_points: Int[Array, " kernel_point"] | None = None

    @property
    def width(self) -> dict[str, float]:
        return {name: 1.0 for name in self.structure.populations} | dict(self.widths)

    @property
    def smooth(self) -> bool:
        return self.twice and not self.structure.averages

    @property
    def populations(self) -> tuple[Population, ...]:
        return tuple(
            Population(name, sum(map(math.prod, self._numbers(name))), self.width[name])
            for name in self.structure.populations
        )

    def _numbers(self, population: str) -> list[tuple[int, ...]]:
        """Shapes of the random numbers that a neuron carries: of readouts, input weights, vectors."""
        readouts = [(self.outputs, each.places) for each in self.structure.readouts if each.population == population]
        pairs = zip(self.structure.inputs, self.inputs, strict=True)
        inputs = [(weights.rank,) for each, weights in pairs if each.population == population]
        return [*readouts, *inputs, *(each.shape for each in self.structure.vectors if each.population == population)]

    @property
    def matrices(self) -> tuple[RandomMatrix, ...]:
        matrices = []
        blocks = block_sizes(self.structure, self.together, self.outputs)
        for number, (matrix, capacities) in enumerate(zip(self.structure.matrices, self.capacities, strict=True)):
            prior, uses = self._prior(number), len(matrix.uses)
            n, steps = prior.stencil.offsets, totals(blocks[number])
            forward = Supply(f"forward_{matrix.name}", matrix.target, n * capacities[0], n * steps[0])
            backward = Supply(f"backward_{matrix.name}", matrix.source, n * capacities[1], n * steps[1])
            largest = max(each[0] for each in blocks[number]), max(each[1] for each in blocks[number])
            matrices.append(
                RandomMatrix(matrix.source, matrix.target, prior, capacities, largest, forward, backward, uses)
            )
        return tuple(matrices)

    def _prior(self, number: int) -> MatrixPrior:
        # What is learned moves vectors by a share gamma0^2 of their squared norm, and f is this movement over gamma0.
        matrix, width = self.structure.matrices[number], self.width
        tolerance = self.tolerance * jnp.minimum(1.0, self.gamma0**2) * self.moved
        return MatrixPrior(matrix.sigma, width[matrix.source] / width[matrix.target], tolerance, matrix.stencil)

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {name: OBSERVABLES[name].dims for name in USUAL} | dict(self.structure.observed)

    def initial(self, noise: Noise, matrices: tuple[Any, ...], momentum: bool) -> ProgramState:
        left = {name: cut(noise[name], self._numbers(name)) for name in self.structure.populations}
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
            origin,
            jnp.zeros((), bool),
        )

    def forward(self, state: ProgramState, noise: Noise) -> tuple[ProgramState, ProgramFields]:
        neurons = {name: noise[name].shape[-1] for name in self.structure.populations}
        supplies = [f"_{matrix.name}" for matrix in self.structure.matrices]
        fed = Fed(
            tuple(partial(self.action, number, weights.value) for number, weights in enumerate(state.inputs)),
            tuple(each.value for each in state.vectors),
            state.matrices,
            tuple(map(self._prior, range(len(state.matrices)))),
            tuple((noise.get("forward" + name), noise.get("backward" + name)) for name in supplies),
        )
        zero = additions(self.structure, len(self.x), neurons, state.readouts[0].value.dtype)
        run = linearised(self.program, self.x, self.structure, fed, zero, self.outputs)
        state, backwards = backward(run, self.structure, state, fed, neurons, self.width)
        now, origin = contributions_to_f(self.structure, run.forwards, state.readouts), state.origin
        if origin is not None:
            origin = tuple(jnp.where(state.begun, old, new) for old, new in zip(origin, now, strict=True))
            # Exactly zero at first: compiled, the difference of equal products is their rounding.
            now = [jnp.where(state.begun, new - old, 0.0) for new, old in zip(now, origin, strict=True)]
        contributions = tuple(each / self.gamma0 for each in now)
        f = [jnp.mean(each, axis=-1) for each in contributions]
        fields = ProgramFields(run.forwards, backwards, contributions, sum(f[1:], f[0]))
        return state._replace(origin=origin, begun=jnp.ones_like(state.begun)), fields

    def action(
        self, number: int, value: Float[Array, "row neuron"], x: Float[Array, "..."], call: int
    ) -> Float[Array, "point *site neuron"]:
        """Of input weights, on the x of a call."""
        weights, each = self.inputs[number], self.structure.inputs[number]
        if isinstance(weights, CarriedWeights):
            h = weights.on(x.reshape(-1, x.shape[-1])).preactivations(value)
        else:
            start = sum(each.rows[:call])
            h = weights.preactivations(value).reshape(len(self.x), sum(each.rows), -1)
            h = h[:, start : start + each.rows[call]]
        return h.reshape(len(self.x), *each.calls[call], -1)

    def step(
        self, state: ProgramState, fields: ProgramFields, residual: Float[Array, "point output"], update: Update
    ) -> ProgramState:
        structure, gamma0, forwards, added = self.structure, self.gamma0, fields.forwards, fields.backwards.added

        def signal(gradient: Float[Array, "point output *site neuron"]) -> Float[Array, "point *site neuron"]:
            """sum_c Delta_c D_c"""
            return jnp.sum(residual.reshape(*residual.shape, *(1,) * (gradient.ndim - 2)) * gradient, axis=1)

        inputs = list(state.inputs)
        for number, each in enumerate(structure.inputs):
            if each.trained:
                rows = jnp.concatenate([flat(signal(a)) for a in added.inputs[number]], axis=1)
                weights = self._weights(number, forwards)
                direction = weights.direction(rows.reshape(-1, rows.shape[-1]), gamma0)
                inputs[number] = heavy_ball(inputs[number], direction, update)
        numbers = list(state.vectors)
        for number, vector in enumerate(structure.vectors):
            if vector.trained:
                direction = gamma0 * vector.scale**2 * jnp.sum(signal(added.vectors[number]), axis=0)
                numbers[number] = heavy_ball(numbers[number], direction, update)
        readouts = list(state.readouts)
        for number, (readout, v) in enumerate(zip(structure.readouts, what_is_read(structure, forwards), strict=True)):
            if readout.trained:
                w = readouts[number]
                direction = mix(residual.T, v.reshape(len(v), -1)).reshape(w.value.shape)
                scale = gamma0 / (self.width[readout.population] * readout.places**0.5)
                readouts[number] = heavy_ball(w, scale * direction, update)
        matrices = list(state.matrices)
        for number, matrix in enumerate(structure.matrices):
            if matrix.trained:
                matrices[number] = self._learned(number, matrices[number], fields, residual, signal, update)
        return state._replace(
            inputs=tuple(inputs), matrices=tuple(matrices), vectors=tuple(numbers), readouts=tuple(readouts)
        )

    def _weights(self, number: int, forwards: Forwards) -> InputWeights | CarriedWeights:
        """Input weights that know the rows they read."""
        weights = self.inputs[number]
        if not isinstance(weights, CarriedWeights):
            return weights
        rows = jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in forwards.read[number]], axis=1)
        return weights.on(rows.reshape(-1, rows.shape[-1]))

    def _learned(
        self,
        number: int,
        before: Any,
        fields: ProgramFields,
        residual: Float[Array, "point output"],
        signal: Any,
        update: Update,
    ) -> Any:
        """A random matrix after a training step."""
        matrix, forwards, backwards = self.structure.matrices[number], fields.forwards, fields.backwards
        signals = [vectors(self.gamma0 * signal(a), matrix.stencil) for a in backwards.added.products[number]]

        def mixed(
            coordinates: Float[Array, "capacity each_output place"], signal: Float[Array, "point vector place neuron"]
        ) -> Float[Array, "capacity row place"]:
            (points, outputs), (each, places) = residual.shape, signal.shape[1:3]
            split = coordinates.reshape(len(coordinates), points, outputs, each, places)
            split = jnp.sum(split * residual[..., None, None], axis=2)
            return self.gamma0 * split.reshape(len(split), points * each, places)

        return before.learn(
            joined([a.reshape(-1, *a.shape[2:]) for a in signals], 0),
            joined([mixed(a, s) for a, s in zip(backwards.coordinates[number], signals, strict=True)], 1),
            joined([a.reshape(-1, *a.shape[2:]) for a in acted_on(self.structure, number, forwards)], 0),
            joined(forwards.coordinates[number], 1),
            self._prior(number),
            update,
        )

    def sites(self, fields: ProgramFields) -> dict[str, Any]:
        structure, at, observed = self.structure, self._at_kernel_points, fields.forwards.observed
        rows = [self._rows(self._weights(number, fields.forwards)) for number in range(len(structure.inputs))]
        sites: dict[str, Any] = {
            name: population_sites(structure, name, fields, at, rows) for name in structure.populations
        }
        return sites | ({OBSERVED: observed} if observed else {})

    def _rows(self, weights: InputWeights | CarriedWeights) -> Float[Array, "point row rank"]:
        """Factors of the inputs' overlaps."""
        return self._at_kernel_points(weights.root.reshape(len(self.x), -1, weights.root.shape[1]))

    def prediction_sites(self, sites: dict[str, Any]) -> dict[str, Float[Array, "point output _neuron"]]:
        return {readout.population: sites[readout.population].f for readout in self.structure.readouts}

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(layer.population for layer in self.structure.layers)

    def layer_sites(self, sites: dict[str, Any]) -> tuple[LayerSites, ...]:
        return tuple(sites[name].layers[number] for number, name in enumerate(self.layers))

    def averages(self, population: str, sites: Any) -> Any:
        return sites if population == OBSERVED else kernels.averages(sites)

    def observe(self, sites: dict[str, Any]) -> Observables:
        own = {name: sites[name] for name in self.structure.populations}
        averages = {name: self.averages(name, each) for name, each in sites.items()}
        return self.assemble(averages | {GRADIENTS: kernels.of_gradients(self.structure, own)})

    def assemble(self, averages: dict[str, Any]) -> Observables:
        of_populations: dict[str, PopulationAverages] = {name: averages[name] for name in self.structure.populations}
        layers = [of_populations[name].layers[number] for number, name in enumerate(self.layers)]
        overlaps = tuple(
            self._overlap(number) if sum(each.rows) == 1 else None for number, each in enumerate(self.structure.inputs)
        )
        readout = dict.fromkeys(each.population for each in self.structure.readouts)
        prediction = [of_populations[name].prediction for name in readout]
        return {
            "prediction": sum(prediction[1:], prediction[0]),
            "feature_kernel": jnp.stack([layer.feature for layer in layers]),
            "gradient_kernel": jnp.stack([layer.gradient for layer in layers]),
            "tangent_kernel": kernels.tangent_kernel(
                self.structure, self.width, overlaps, of_populations, averages.get(GRADIENTS, {}), self.outputs
            ),
        } | averages.get(OBSERVED, {})

    def _overlap(self, number: int) -> Float[Array, "point point"]:
        rows = self._rows(self.inputs[number])[:, 0]
        return rows @ rows.T

    def _at_kernel_points(self, a: Float[Array, "point *rest"]) -> Float[Array, "kernel_point *rest"]:
        return a if self.kernel_points is None else a[self.kernel_points]

    def at_kernel_points(self, points: Int[np.ndarray, " kernel_point"] | None) -> "ForwardProgram":
        return replace(self, kernel_points=None if points is None else jnp.asarray(points))

    def with_capacities(self, capacities: Pairs) -> "ForwardProgram":
        return replace(self, capacities=capacities)

    def resolving(self, tolerance: float) -> "ForwardProgram":
        return replace(self, tolerance=jnp.asarray(tolerance))

    @property
    def learned(self) -> Float[Array, ""]:
        return self.moved

    def learning(self, learned: float) -> "ForwardProgram":
        return replace(self, moved=jnp.asarray(learned))

    def carrying(self, x: Float[np.ndarray, "point ..."], together: int) -> "ForwardProgram":
        if self.center:
            raise Unsupported("predictions are centred by those at t = 0, of which fresh points have none")
        # Programs can be shown what was read off the points; those are not to be confused with the points.
        if x.shape != self.x.shape or not np.array_equal(x, np.asarray(self.x)):
            raise Unsupported("the program is shown what was read off the points")
        outline = structure(self.program, x, self.outputs)
        inputs = tuple(
            carried_weights(outline.rows[each.name], each.sigma, each.bias) for each in self.structure.inputs
        )
        together = max(len(x), together)
        capacities = first_capacities(self.structure, together, self.outputs)
        return replace(self, inputs=inputs, together=together, capacities=capacities)

    def network(self, width: int, gamma0: float, key: Key[Array, ""]) -> ProgramNetwork:
        """The same program with numbers for weights: a network of width N and of this richness.

        Raises InputError where a population has no whole number of neurons.
        """
        neurons = {name: whole_neurons(ratio, width) for name, ratio in self.width.items()}
        return program_network(self.program, self.structure, self.outputs, gamma0, neurons, key)

    def on(self, x: Float[Array, "point ..."]) -> FieldEquations:
        carried = all(isinstance(weights, CarriedWeights) for weights in self.inputs)
        return replace(self, x=x) if carried else super().on(x)
