"""Response functions A and B: how a Gaussian matrix carries the past of a neuron's fields back to it.

Definitions
-----------
A matrix W with initial value W(0) of standard deviation sigma correlates what it sends forward with what it sends back.
Let v be the vectors it acts on, z its products, D the derivative of gamma0 f (`reading`). In the field theory
(arXiv 2205.09653) both products are a Gaussian part and memory,

    W(0) v(t) / sqrt(N)      = u(t) + sigma^2 sum_s A(t, s) D z(s)
    W(0)^T D z(t) / sqrt(N)  = r(t) + sigma^2 n_target / n_source sum_s B(t, s) v(s)

    A(t, s) = <d v(t) / d r(s)>          B(t, s) = <d D z(t) / d u(s)>

with sums over points, and over uses of a matrix that is used more than once. Responses are those of one neuron, all
averages held fixed. In a step the forward pass comes first: A vanishes unless s < t, B unless s <= t (and B(t, t) is an
average of second derivatives, zero in linear networks).

Computation
-----------
What a neuron learns is memory of the same form. With Delta(s), the share kappa(t, s) of the direction of step s in the
weights of time t (eta where s < t, in plain descent), and kept(t) of the initial weights (1 without weight decay),

    z(t) = kept(t) u(t) + sum_s [kept(t) sigma^2 A(t, s) + gamma0 kappa(t, s) <v(t) v(s)> Delta(s)] D z(s)

and D v likewise. Everything that is fed to a neuron, y (products, input fields, its own numbers), and everything that
comes back to what it gives, D v, has such a memory, and y and D v together determine v and D y by arithmetic of the
neuron alone. So a perturbation of one neuron follows linear equations, whose coefficients are these kernels and the
derivatives of that arithmetic along the course of a neuron of an ordinary pass. Their adjoint, run backwards from v(t)
or D z(t), gives a row of A or B from earlier rows: one sweep over t, over the uses of matrices in their order for A and
in reverse for B, without iteration.

The conditional means of `gaussian_matrix` cannot be asked instead: they act as A and B do on the smooth trajectories
of all neurons, which a few basis vectors span, but not on the impulse of one.

The sweep is in `perturbations`, how the fields of a neuron are laid out in `places`. Cost: time ~ L S (T R)^3, memory
~ T S R, with all T steps, saved or not, L uses of matrices, R places of a population, S neurons averaged over.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fwdmft.compiling import quickly
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Noise, State
from fwdmft.engine.products import gram
from fwdmft.engine.simulation import gaussian_matrices
from fwdmft.engine.stencil import POINT
from fwdmft.engine.update import Trained, at_rest, heavy_ball
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.perturbations import Kernel, Memory, NeuronFields, adjoint, arithmetic
from fwdmft.program.places import Block, at_places, blocks, fed_by
from fwdmft.program.reading import Additions
from fwdmft.program.state import ProgramFields, ProgramState


class ResponseFunctions(NamedTuple):
    """A and B of every matrix, (matrix, time, point, time', point'), with an axis of uses behind each of points if
    matrices are used more than once."""

    feature: Float[Array, "matrix time ..."]
    gradient: Float[Array, "matrix time ..."]


def is_supported(equations: FieldEquations) -> bool:
    """Whether these are programs of one output without averages and banks, whose matrices are used equally often, on
    single vectors."""
    if not isinstance(equations, ForwardProgram) or equations.outputs > 1 or equations.structure.averages:
        return False
    matrices = equations.structure.matrices
    single = all(matrix.stencil == POINT and all(sites == () for sites in matrix.uses) for matrix in matrices)
    return single and len({len(matrix.uses) for matrix in matrices}) == 1


class Course(NamedTuple):
    """What a pass went through: fields of each population, <v v> and <D z D z> of each matrix, Delta."""

    fields: dict[str, NeuronFields]
    feature: tuple[Kernel, ...]
    gradient: tuple[Kernel, ...]
    residual: Float[Array, "time point"]


@partial(quickly, static=(3,))
def response_functions(
    equations: FieldEquations, noise: Noise, training: TrainingSignal, neurons: int
) -> ResponseFunctions:
    """At all pairs of steps, averaged over the first `neurons` of each population.

    equations: supported ones. training: with every step saved, without substeps.
    """
    assert isinstance(equations, ForwardProgram)
    course = _course(equations, noise, training, neurons)
    kappa, kept = _shares(training)
    structure, (steps, points) = equations.structure, course.residual.shape
    learned = {name: _learned(equations, name, course, kappa) for name in structure.populations}
    count, uses = len(structure.matrices), len(structure.matrices[0].uses)
    nothing = jnp.zeros((count, steps, uses * points, steps, uses * points))
    uses_in_order = [(cut.number, cut.use) for cut in structure.cuts if cut.kind == "matrix"]

    def swept(
        responses: ResponseFunctions, t: Int[Array, ""], number: int, use: int, of_given: bool
    ) -> ResponseFunctions:
        """With a row of time t for a use of a matrix, from those known: of A, of what is given to it, or else of B."""
        matrix = structure.matrices[number]
        population, kind = (matrix.source, "matrix") if of_given else (matrix.target, "products")
        places = blocks(structure, population, points)
        own = next(
            each for each in (places.given if of_given else places.fed) if (each.kind, each.number) == (kind, number)
        )
        memory = _memory(equations, population, learned[population], kept, responses)
        neuron, fields = partial(arithmetic, equations, population), course.fields[population]
        derivatives = adjoint(neuron, fields, memory, places, t, own.of_use(use), of_given)
        mean = jnp.mean((derivatives.dv if of_given else derivatives.y)[:, own.every], axis=-1)
        rows = jnp.moveaxis(kept[:, None, None] * mean, -1, 0)
        name, place = "feature" if of_given else "gradient", slice(points * use, points * (use + 1))
        return responses._replace(**{name: getattr(responses, name).at[number, t, place].set(rows)})

    def one_step(t: Int[Array, ""], responses: ResponseFunctions) -> ResponseFunctions:
        for number, use in uses_in_order:
            responses = swept(responses, t, number, use, True)
        for number, use in reversed(uses_in_order):
            responses = swept(responses, t, number, use, False)
        return responses

    responses = jax.lax.fori_loop(0, steps, one_step, ResponseFunctions(nothing, nothing))

    def by_use(a: Float[Array, "matrix time place time place"]) -> Float[Array, "matrix time ..."]:
        split = a.reshape(count, steps, uses, points, steps, uses, points)
        return a if uses == 1 else jnp.moveaxis(split, (2, 5), (3, 6))

    return ResponseFunctions(*map(by_use, responses))


def _course(equations: ForwardProgram, noise: Noise, training: TrainingSignal, neurons: int) -> Course:
    structure, points = equations.structure, len(equations.x)

    def fields(population: str, y: Additions, dv: tuple[Float[Array, "point ..."], ...]) -> NeuronFields:
        fed, back = blocks(structure, population, points)
        return NeuronFields(
            at_places(a for block in fed for a in fed_by(block, y)),
            at_places(a for block in back for a in structure.at_cuts(block.kind, block.number, dv)),
        )

    def step(state: State, at: tuple[Float[Array, ""], Int[Array, " batch"] | None]) -> tuple[State, tuple]:
        rate, batch = at
        state, of_pass = equations.forward(state, noise)
        residual, backwards = training.residual(of_pass.f, batch), of_pass.backwards
        few = jax.tree.map(lambda a: a[..., :neurons], (_values(equations, state, of_pass), backwards.into))
        into = of_pass.forwards.into
        ahead = [at_places(structure.at_cuts("matrix", number, into)) for number in range(len(structure.matrices))]
        back = [at_places(products) for products in backwards.added.products]
        own = {name: fields(name, *few) for name in structure.populations}
        after = equations.step(state, of_pass, residual, training.update(rate))
        return after, (own, ahead, back, residual[:, 0])

    schedule = jax.tree.map(lambda a: a[:, 0], (training.rates, training.batches))
    momentum = training.momentum != 0
    start = equations.initial(noise, gaussian_matrices(equations, noise, momentum), momentum)
    _, (own, ahead, back, residual) = jax.lax.scan(step, start, schedule)
    return Course(own, tuple(map(gram, ahead)), tuple(map(gram, back)), residual)


def _values(equations: ForwardProgram, state: ProgramState, fields: ProgramFields) -> Additions:
    """Everything that was fed to neurons, where `Additions` have what is added to it."""
    inputs = [
        tuple(equations.action(number, weights.value, x, call) for call, x in enumerate(fields.forwards.read[number]))
        for number, weights in enumerate(state.inputs)
    ]
    pairs = zip(fields.backwards.added.vectors, state.vectors, strict=True)
    numbers = tuple(jnp.broadcast_to(theta.value, (len(a), *theta.value.shape)) for a, theta in pairs)
    return Additions(tuple(inputs), fields.forwards.products, numbers, (), ())


def _shares(training: TrainingSignal) -> tuple[Float[Array, "time time"], Float[Array, " time"]]:
    """kappa(t, s), and kept(t)."""
    steps = len(training.rates)

    def one_step(
        carry: tuple[Trained, Trained], at: tuple[Float[Array, ""], Float[Array, " time"]]
    ) -> tuple[Any, tuple[Float[Array, " time"], Float[Array, ""]]]:
        (learned, kept), (rate, direction) = carry, at
        update = training.update(rate)
        later = heavy_ball(learned, direction, update), heavy_ball(kept, jnp.zeros(()), update)
        return later, (learned.value, kept.value)

    momentum = training.momentum != 0
    start = at_rest(jnp.zeros(steps), momentum), at_rest(jnp.ones(()), momentum)
    return jax.lax.scan(one_step, start, (training.rates[:, 0], jnp.eye(steps)))[1]


def _learned(equations: ForwardProgram, population: str, course: Course, kappa: Float[Array, "time time"]) -> Memory:
    """The memory that training adds to the weights that lead to a population and from it."""
    structure, width = equations.structure, equations.width
    steps, points = course.residual.shape

    def of(block: Block, overlaps: Kernel | Float[Array, "place place"], trained: bool) -> Kernel:
        every = overlaps if overlaps.ndim == 4 else overlaps[None, :, None]
        residual = jnp.tile(course.residual, sum(block.sites))
        return trained * equations.gamma0 * kappa[:, None, :, None] * residual * every

    def alike(sites: int) -> Float[Array, "place place"]:
        """Overlaps of numbers that all points share."""
        return jnp.kron(jnp.eye(sites), jnp.ones((points, points)))

    def ahead(block: Block) -> Kernel:
        if block.kind == "inputs":
            weights = equations.inputs[block.number].root.reshape(points, -1, equations.inputs[block.number].rank)
            rows = jnp.moveaxis(weights, 1, 0).reshape(-1, weights.shape[-1])
            return of(block, rows @ rows.T, structure.inputs[block.number].trained)
        if block.kind == "products":
            return of(block, course.feature[block.number], structure.matrices[block.number].trained)
        vector = structure.vectors[block.number]
        return of(block, vector.scale**2 * alike(sum(block.sites)), vector.trained)

    def back(block: Block) -> Kernel:
        if block.kind == "matrix":
            ratio = _ratio(equations, block.number)
            return of(block, ratio * course.gradient[block.number], structure.matrices[block.number].trained)
        readout = structure.readouts[block.number]
        return of(block, alike(readout.places) / (width[population] ** 2 * readout.places), readout.trained)

    fed, given = blocks(structure, population, points)
    return Memory(tuple(map(ahead, fed)), tuple(map(back, given)))


def _ratio(equations: ForwardProgram, matrix: int) -> float:
    """n_target / n_source."""
    each = equations.structure.matrices[matrix]
    return equations.width[each.target] / equations.width[each.source]


def _memory(
    equations: ForwardProgram,
    population: str,
    learned: Memory,
    kept: Float[Array, " time"],
    responses: ResponseFunctions,
) -> Memory:
    """All memory of a population, as far as the responses are known."""
    structure, points = equations.structure, len(equations.x)
    initial = kept[:, None, None, None]

    def with_initial(block: Block, of_learned: Kernel) -> Kernel:
        """What the initial matrix keeps as well: A of products, B of what is given to it."""
        if block.kind not in ("products", "matrix"):
            return of_learned
        strength = structure.matrices[block.number].sigma ** 2
        if block.kind == "products":
            return of_learned + strength * initial * responses.feature[block.number]
        return of_learned + strength * _ratio(equations, block.number) * initial * responses.gradient[block.number]

    fed, given = blocks(structure, population, points)
    return Memory(tuple(map(with_initial, fed, learned.ahead)), tuple(map(with_initial, given, learned.back)))
