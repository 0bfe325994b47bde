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

A "place" is a point at a site of a use of some weights. Cost: time ~ L S (T R)^3 with all T steps, saved or not, L uses
of matrices, R places of a population, S the neurons averaged over; memory ~ T S times all places.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft.compiling import quickly
from fwdmft.engine.averages import plain
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Noise, State
from fwdmft.engine.gaussian_matrix import Product
from fwdmft.engine.products import gram
from fwdmft.engine.simulation import gaussian_matrices
from fwdmft.engine.stencil import POINT
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.reading import Additions, Fed, additions, linearised
from fwdmft.program.state import ProgramActivity
from fwdmft.program.structure import Structure

Kernel = Float[Array, "time place time place"]


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


class Block(NamedTuple):
    """Places of one kind of weights among those of a population. kind: field of `Additions` for what is fed, or kind of
    `Cut` for what is given. sites: how many there are in each use."""

    kind: str
    number: int
    start: int
    points: int
    sites: tuple[int, ...]

    @property
    def every(self) -> slice:
        return slice(self.start, self.start + self.points * sum(self.sites))

    def of_use(self, use: int) -> slice:
        start = self.start + self.points * sum(self.sites[:use])
        return slice(start, start + self.points * self.sites[use])


class Memory(NamedTuple):
    """For every block of a population, what y(t) keeps of D y(s), and D v(t) of v(s)."""

    ahead: tuple[Kernel, ...]
    back: tuple[Kernel, ...]


class Fields(NamedTuple):
    """Of some neurons of a population: y and D v."""

    y: Float[Array, "*time place neuron"]
    dv: Float[Array, "*time place neuron"]


class Course(NamedTuple):
    """What a pass went through: fields of each population, <v v> and <D z D z> of each matrix, Delta."""

    fields: dict[str, Fields]
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
    equations = equations.at_kernel_points(None)  # responses are those of all points
    course = _course(equations, noise, training, neurons)
    kappa, kept = _shares(training)
    learned = {name: _learned(equations, name, course, kappa) for name in equations.structure.populations}
    steps, points = course.residual.shape
    count, uses = len(equations.structure.matrices), len(equations.structure.matrices[0].uses)
    nothing = jnp.zeros((count, steps, uses * points, steps, uses * points))

    def one_step(t: Int[Array, ""], found: ResponseFunctions) -> ResponseFunctions:
        return _extended(equations, course, learned, kept, t, found)

    found = jax.lax.fori_loop(0, steps, one_step, ResponseFunctions(nothing, nothing))

    def by_use(a: Float[Array, "matrix time place time place"]) -> Float[Array, "matrix time ..."]:
        split = a.reshape(count, steps, uses, points, steps, uses, points)
        return a if uses == 1 else jnp.moveaxis(split, (2, 5), (3, 6))

    return ResponseFunctions(*map(by_use, found))


Owned = dict[str, list[tuple[str, tuple[int, ...]]]]
"""Of each kind of weights: their population, and sites of each use."""


def _fed(structure: Structure, population: str, points: int) -> list[Block]:
    """Of what is fed to a population: input fields, products, its own numbers."""
    kinds: Owned = {
        "inputs": [(each.population, each.rows) for each in structure.inputs],
        "products": [(each.target, tuple(map(math.prod, each.uses))) for each in structure.matrices],
        "vectors": [(each.population, (math.prod(each.shape),)) for each in structure.vectors],
    }
    return _blocks(kinds, population, points)


def _given(structure: Structure, population: str, points: int) -> list[Block]:
    """Of what a population gives to matrices and to readouts."""
    kinds: Owned = {
        "matrix": [(each.source, tuple(map(math.prod, each.uses))) for each in structure.matrices],
        "readout": [(each.population, (each.places,)) for each in structure.readouts],
    }
    return _blocks(kinds, population, points)


def _blocks(kinds: Owned, population: str, points: int) -> list[Block]:
    found: list[Block] = []
    for kind, every in kinds.items():
        for number, (owner, sites) in enumerate(every):
            if owner == population:
                found.append(Block(kind, number, found[-1].every.stop if found else 0, points, sites))
    return found


def _of_fed(block: Block, arrays: Additions) -> tuple[Float[Array, "point ... neuron"], ...]:
    found = getattr(arrays, block.kind)[block.number]
    return (found,) if block.kind == "vectors" else found


def _of_given(
    structure: Structure, block: Block, into: Sequence[Float[Array, "point ..."]]
) -> list[Float[Array, "point ..."]]:
    pairs = zip(structure.cuts, into, strict=True)
    return [a for cut, a in pairs if (cut.kind, cut.number) == (block.kind, block.number)]


def _joined(arrays: Iterable[Float[Array, "point *site neuron"]]) -> Float[Array, "place neuron"]:
    """The places of these, site by site."""
    found = [jnp.moveaxis(a.reshape(len(a), -1, a.shape[-1]), 1, 0).reshape(-1, a.shape[-1]) for a in arrays]
    return jnp.concatenate(found)


def _split(
    places: Float[Array, "place neuron"], like: Sequence[Float[Array, "point ... neuron"]]
) -> list[Float[Array, "point ... neuron"]]:
    """What was joined, in the shapes of those."""
    found, start = [], 0
    for each in like:
        points, *sites, neurons = each.shape
        end = start + points * math.prod(sites)
        found.append(jnp.moveaxis(places[start:end].reshape(-1, points, neurons), 0, 1).reshape(each.shape))
        start = end
    return found


def _course(equations: ForwardProgram, noise: Noise, training: TrainingSignal, neurons: int) -> Course:
    structure, points = equations.structure, len(equations.x)

    def given(kind: str, number: int, into: Sequence[Float[Array, "point ..."]]) -> Float[Array, "place neuron"]:
        return _joined(_of_given(structure, Block(kind, number, 0, points, ()), into))

    def fields(population: str, y: Additions, dv: tuple[Float[Array, "point ..."], ...]) -> Fields:
        fed, back = _fed(structure, population, points), _given(structure, population, points)
        return Fields(
            _joined(a for block in fed for a in _of_fed(block, y)),
            _joined(a for block in back for a in _of_given(structure, block, dv)),
        )

    def step(state: State, at: tuple[Array, Array | None]) -> tuple[State, tuple]:
        rate, batch = at
        f, activity = equations.forward(state, noise)
        residual = training.residual(f, batch)
        few = jax.tree.map(lambda a: a[..., :neurons], (_values(equations, activity), activity.into))
        ahead = [given("matrix", number, activity.forwards.into) for number in range(len(structure.matrices))]
        back = [_joined(products) for products in activity.added.products]
        own = {name: fields(name, *few) for name in structure.populations}
        update = Update(rate, training.momentum, training.weight_decay)
        return equations.step(state, activity, residual, update), (own, ahead, back, residual[:, 0])

    schedule = jax.tree.map(lambda a: a[:, 0], (training.rates, training.batches))
    momentum = training.momentum != 0
    start = equations.initial(noise, gaussian_matrices(equations, noise, momentum), momentum)
    _, (own, ahead, back, residual) = jax.lax.scan(step, start, schedule)
    return Course(own, tuple(map(gram, ahead)), tuple(map(gram, back)), residual)


def _values(equations: ForwardProgram, activity: ProgramActivity) -> Additions:
    """Everything that was fed to neurons, where `Additions` have what is added to it."""
    structure, state = equations.structure, activity.state
    inputs = []
    for each, weights, trained in zip(structure.inputs, equations.inputs, state.inputs, strict=True):
        h = weights.preactivations(trained.value)
        rows = h.reshape(-1, sum(each.rows), h.shape[-1])
        inputs.append(tuple(jnp.split(rows, np.cumsum(each.rows)[:-1], axis=1)))
    pairs = zip(activity.added.vectors, state.vectors, strict=True)
    numbers = tuple(jnp.broadcast_to(theta.value, (len(a), *theta.value.shape)) for a, theta in pairs)
    return Additions(tuple(inputs), activity.forwards.products, numbers, (), ())


def _shares(training: TrainingSignal) -> tuple[Float[Array, "time time"], Float[Array, " time"]]:
    """kappa(t, s), and kept(t)."""
    steps = len(training.rates)

    def one_step(carry: tuple[Trained, Trained], at: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
        (learned, kept), (rate, direction) = carry, at
        update = Update(rate, training.momentum, training.weight_decay)
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

    fed, given = _fed(structure, population, points), _given(structure, population, points)
    return Memory(tuple(map(ahead, fed)), tuple(map(back, given)))


def _ratio(equations: ForwardProgram, matrix: int) -> float:
    """n_target / n_source."""
    each = equations.structure.matrices[matrix]
    return equations.width[each.target] / equations.width[each.source]


def _extended(
    equations: ForwardProgram,
    course: Course,
    learned: dict[str, Memory],
    kept: Float[Array, " time"],
    t: Int[Array, ""],
    found: ResponseFunctions,
) -> ResponseFunctions:
    """With the rows of time t, from those of earlier times."""
    structure, points = equations.structure, course.residual.shape[1]
    uses = [(cut.number, cut.use) for cut in structure.cuts if cut.kind == "matrix"]

    def block(blocks: list[Block], matrix: int) -> Block:
        return next(each for each in blocks if each.kind in ("products", "matrix") and each.number == matrix)

    def row(derivative: Float[Array, "time place target neuron"]) -> Float[Array, "target time place"]:
        return jnp.moveaxis(kept[:, None, None] * jnp.mean(derivative, axis=-1), -1, 0)

    def sweep(population: str, own: slice, of_given: bool) -> Fields:
        memory = _memory(equations, population, learned[population], kept, found)
        neuron = partial(_neuron, equations, population)
        places = _fed(structure, population, points), _given(structure, population, points)
        return adjoint(neuron, course.fields[population], memory, places, t, own, of_given)

    for number, use in uses:
        source = structure.matrices[number].source
        own = block(_given(structure, source, points), number)
        derivative = sweep(source, own.of_use(use), True).dv[:, own.every]
        place = slice(points * use, points * (use + 1))
        found = found._replace(feature=found.feature.at[number, t, place].set(row(derivative)))
    for number, use in reversed(uses):
        target = structure.matrices[number].target
        own = block(_fed(structure, target, points), number)
        derivative = sweep(target, own.of_use(use), False).y[:, own.every]
        place = slice(points * use, points * (use + 1))
        found = found._replace(gradient=found.gradient.at[number, t, place].set(row(derivative)))
    return found


def _memory(
    equations: ForwardProgram, population: str, learned: Memory, kept: Float[Array, " time"], found: ResponseFunctions
) -> Memory:
    """All memory of a population, as far as the responses are known."""
    structure, points = equations.structure, len(equations.x)
    initial = kept[:, None, None, None]

    def ahead(block: Block, of_learned: Kernel) -> Kernel:
        if block.kind != "products":
            return of_learned
        sigma = structure.matrices[block.number].sigma
        return of_learned + sigma**2 * initial * found.feature[block.number]

    def back(block: Block, of_learned: Kernel) -> Kernel:
        if block.kind != "matrix":
            return of_learned
        strength = structure.matrices[block.number].sigma ** 2 * _ratio(equations, block.number)
        return of_learned + strength * initial * found.gradient[block.number]

    fed, given = _fed(structure, population, points), _given(structure, population, points)
    return Memory(tuple(map(ahead, fed, learned.ahead)), tuple(map(back, given, learned.back)))


class _Told(NamedTuple):
    """Stands for a matrix whose products are known, use by use."""

    products: tuple[Float[Array, "point ... neuron"], ...]

    def apply(self, v: Float[Array, "vector position neuron"], noise: None, prior: None) -> tuple["_Told", Product]:
        return _Told(self.products[1:]), Product(self.products[0], jnp.zeros(0))


def _neuron(
    equations: ForwardProgram, population: str, own: Fields
) -> tuple[Float[Array, "given neuron"], Float[Array, "fed neuron"]]:
    """v and D y from y and D v (place, neuron), neuron by neuron."""
    structure, points, neurons = equations.structure, len(equations.x), own.y.shape[-1]
    zero = additions(structure, points, dict.fromkeys(structure.populations, neurons), own.y.dtype)
    fed, given = _fed(structure, population, points), _given(structure, population, points)
    # What other populations are fed is of no consequence for this one.
    y = {kind: list(getattr(zero, kind)) for kind in ("inputs", "products", "vectors")}
    for block in fed:
        found = _split(own.y[block.every], _of_fed(block, zero))
        y[block.kind][block.number] = found[0] if block.kind == "vectors" else tuple(found)
    action = tuple((lambda x, call, h=h: h[call]) for h in y["inputs"])
    priors: Any = (None,) * len(structure.matrices)
    noise = ((None, None),) * len(structure.matrices)
    response = Fed(action, tuple(y["vectors"]), tuple(map(_Told, y["products"])), priors, noise, plain())
    run = linearised(equations.program, equations.x, structure, response, zero, equations.outputs)
    total: Any = None
    for block in given:
        cuts = [at for at, cut in enumerate(structure.cuts) if (cut.kind, cut.number) == (block.kind, block.number)]
        back = _split(own.dv[block.every], _of_given(structure, block, run.forwards.into))
        for cut, cotangent in zip(cuts, back, strict=True):
            part = run.pulled_back(cut, cotangent[:, None])
            total = part if total is None else jax.tree.map(jnp.add, total, part)
    dy = jax.tree.map(lambda a: a[:, 0], total)
    v = [a for block in given for a in _of_given(structure, block, run.forwards.into)]
    return _joined(v), _joined(a for block in fed for a in _of_fed(block, dy))


def adjoint(
    neuron: Callable[[Fields], tuple[Float[Array, "given neuron"], Float[Array, "fed neuron"]]],
    fields: Fields,
    memory: Memory,
    places: tuple[list[Block], list[Block]],
    t: Int[Array, ""],
    own: slice,
    of_given: bool,
) -> Fields:
    """Derivatives of v(t), or else of D y(t), at each of their own places (target) in perturbations of y(s), D v(s).

    neuron: (v, D y) of (y, D v). places: of what is fed and of what is given. Returns (time, place, target, neuron).
    """
    targets = own.stop - own.start
    (steps, fed, neurons), given = fields.y.shape, fields.dv.shape[1]
    at_target = jnp.eye(given if of_given else fed)[:, own, None] * jnp.ones(neurons)

    def kept(
        kernels: tuple[Float[Array, "time _place time _place"], ...],
        blocks: list[Block],
        s: Int[Array, ""],
        later: Float[Array, "time every target neuron"],
    ) -> Float[Array, "earlier target neuron"]:
        """What later times keep of time s."""
        pairs = zip(kernels, blocks, strict=True)
        return jnp.concatenate(
            [jnp.tensordot(kernel[:, :, s], later[:, block.every], axes=((0, 1), (0, 1))) for kernel, block in pairs]
        )

    def one_step(back: Int[Array, ""], found: Fields) -> Fields:
        s = t - back
        owned = jnp.where(back == 0, at_target, 0.0)
        _, pull_back = jax.vjp(neuron, Fields(fields.y[s], fields.dv[s]))
        derivatives = jax.vmap(pull_back, in_axes=1, out_axes=1)
        from_dy = kept(memory.ahead, places[0], s, found.y)
        from_dy = from_dy if of_given else from_dy + owned
        # v does not depend on D v.
        (only,) = derivatives((jnp.zeros((given, targets, neurons)), from_dy))
        found = found._replace(dv=found.dv.at[s].set(only.dv))
        from_v = kept(memory.back, places[1], s, found.dv)
        from_v = from_v + owned if of_given else from_v
        (both,) = derivatives((from_v, from_dy))
        return found._replace(y=found.y.at[s].set(both.y))

    nothing = Fields(*(jnp.zeros((steps, count, targets, neurons)) for count in (fed, given)))
    return jax.lax.fori_loop(0, t + 1, one_step, nothing)
