"""Sigma and b of networks whose neurons meet only in their predictions: those without Gaussian matrices.

Under a given record R of the residuals Delta, at every (sub)step and training point, neurons are independent. Neuron i
contributes x_i(R) to the predictions trained on and o_i(R) to an observable O. A finite network solves f = mean x_i(R),
R = r(f), so that to first order in fluctuations, with J = d<x>/dR, L = (1 - J r')^-1 and X_i = x_i - <x>,

    delta f = L mean X_i        psi_i = o_i - <o> + d<o>/dR r' L X_i        Sigma = <psi psi^T> / n

(n: width of the population in units of N; populations add). What neurons contribute at all steps lies close to a space
of few dimensions: X_i = sum_k v_k c_ki. So it takes one forward derivative per v_k, of a training run with respect to
adding v_k to its predictions: residuals respond by r' L v_k, observables by d<o>/dR r' L v_k. Neither J nor L, matrices
of all pairs of steps, is ever formed; and responses, unlike influences, are averages over neurons: fewer will do.

To second order E delta f = b_f / N with three causes,

    b_f = <J_i delta_i> / n + 1/2 <x_i''[xi, xi]> + J (r' b_f + 1/2 r''[Sigma_f])        and b_O likewise.

First, neuron i meets the change delta_i = r' L X_i of the residuals that it caused itself. Second, it meets changes xi
that all caused together, of covariance C = r' Sigma_f r'^T. Third, residuals change on average. All of it is the order
e^2 of one run in which neuron i sees Delta + e xi_i + e^2 (delta_i / n + 1/2 r''[Sigma_f] + r' b_f). The xi_i are drawn
from C, for every neuron independently: an unbiased estimate of the trace. Or a run for each principal direction of C
gives it exactly.

Observables have to be linear in averages. Runs are in `driven` and `curvature`. A step-halving ladder is one system:
its runs share their neurons, and with them the amplitudes c.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.linalg import qr

from fwdmft.compiling import quickly
from fwdmft.corrections.corrections import Arrays
from fwdmft.corrections.curvature import curvature, second_derivative
from fwdmft.corrections.driven import Driven, Influences, Record, Task, driven, influences, record, source_shapes
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Observables
from fwdmft.errors import ComputationError

TOLERANCE = 1e-5
"""Contributions to predictions are resolved to this share of their largest singular value, about."""

LOOSER = 3.0
"""By how much contributions are resolved less closely where it is told what leaving out directions does."""

OVERFLOW = (
    "the influence of single neurons overflows: training amplifies fluctuations without bound; expected "
    "stable training: lower optimizer.learning_rate, or set theory.fluctuations and theory.bias to false"
)

BLOCK = 8
"""Sources that travel together."""

FILLED = 32
"""Sources are filled up to multiples of this, few of them to a power of two, so that few numbers are compiled for."""


MOST_NUMBERS = 1 << 26
"""Numbers that may be kept: contributions of neurons to predictions, and responses of observables."""


@dataclass(frozen=True)
class Response:
    """From one set of sample neurons; arrays (time, ...) as the observables.

    mean: observables at infinite width. variance: N Var. bias: b, {} if not asked for.
    prediction_covariance: (time, point, output, the same) or None.
    equal_time_covariance: N Cov among the outputs of one point, (time, point, output, output).
    layer_covariance: N Cov of the layers' kernel strengths (time, kernel, layer, kernel, layer), None without layers.
    rank: number of sources.
    truncation: how far variance and bias are from those of all directions, about; {} if not asked for.
    """

    mean: Arrays
    variance: Arrays
    bias: Arrays
    prediction_covariance: Float[np.ndarray, "time point output time point output"] | None
    equal_time_covariance: Float[np.ndarray, "time point output output"]
    layer_covariance: Float[np.ndarray, "time kernel layer kernel layer"] | None
    rank: int
    truncation: dict[str, Arrays]


def linear_response(
    equations: FieldEquations,
    noise: Mapping[str, Float[np.ndarray | Array, "_number _neuron"]],
    training: TrainingSignal,
    *,
    bias: bool,
    covariance: bool,
    key: Key[Array, ""] | None,
    responding: int | None = None,
    tolerance: float = TOLERANCE,
    truncation: bool = False,
) -> Response:
    """Sigma and b, see the module docstring. Call it where JAX computes in float64.

    covariance: whether to compute `prediction_covariance`. key: of the directions xi, None for the exact sum, which
    costs a run for each. responding: number of neurons, the first ones, whose mean response is taken; influences of
    single neurons are spread more widely, so that more of those help. None for all. tolerance: see `TOLERANCE`.
    truncation: whether to tell what the directions that are left out would change.
    """
    task = Task(equations, {name: jnp.asarray(rows) for name, rows in noise.items()}, training)
    trained = quickly(record)(task)
    sources, amplitudes, larger = _sources(task, trained, tolerance)
    few = Task(equations, {name: rows[:, :responding] for name, rows in task.noise.items()}, training)
    responses = _responses(few, trained, sources)
    neurons = quickly(influences)(task, trained.f, responses.observables, amplitudes)
    if not all(np.isfinite(value).all() for value in neurons.variance.values()):
        raise ComputationError(OVERFLOW)
    everything, equal_time, layers = quickly(_covariances, (1,))(neurons, covariance)
    variance = _numpy(neurons.variance)
    b = _bias(task, trained, responses, amplitudes, key) if bias else {}
    left_out = {}
    if truncation:
        looser = quickly(influences)(task, trained.f, responses.observables, larger)
        left_out["variance"] = _truncation(variance, _numpy(looser.variance))
        left_out["bias"] = _truncation(b, _bias(task, trained, responses, larger, key) if bias else {})
    return Response(
        mean=_numpy(neurons.mean),
        variance={name: _without_rounding(value) for name, value in variance.items()},
        bias=b,
        prediction_covariance=_numpy(everything),
        equal_time_covariance=_numpy(equal_time),
        layer_covariance=_numpy(layers),
        rank=len(sources),
        truncation=left_out,
    )


def _truncation(value: Arrays, looser: Arrays) -> Arrays:
    """What all directions would change, from what the smaller ones of those that are taken change.

    Directions that are left out are smaller by `LOOSER` and more than those that the looser value lacks. What they
    change is of first or of second order in their size: first order is on the safe side.
    """
    return {name: np.abs(a - looser[name]) / (LOOSER - 1) for name, a in value.items()}


def affordable(equations: FieldEquations, training: TrainingSignal, neurons: int) -> bool:
    """Whether `linear_response` is defined for these equations, and has room for that many neurons.

    It takes for granted that neurons without random matrices meet only in their predictions.
    """
    return fits_memory(equations, training, neurons) and _linear(equations, _averages(equations, training)[0])


def fits_memory(equations: FieldEquations, training: TrainingSignal, neurons: int) -> bool:
    """The same, but for whether observables are linear in averages."""
    if equations.matrices or not equations.smooth:
        return False
    return numbers(equations, training, neurons) <= MOST_NUMBERS


def numbers(equations: FieldEquations, training: TrainingSignal, neurons: int) -> int:
    """About how many numbers `linear_response` holds."""
    observables = _averages(equations, training)[1]
    sources = sum(int(np.prod(shape)) for shape in source_shapes(training))
    return max(sources * neurons, sum(a.size for a in observables.values()) * training.rates.shape[0] * FILLED)


def _averages(equations: FieldEquations, training: TrainingSignal) -> tuple[Any, dict[str, Any]]:
    """Shapes of averages over neurons and of observables."""
    noise = {population.name: jnp.zeros((population.gaussians, 1)) for population in equations.populations}
    task = Task(equations, noise, training)

    def averages() -> dict[str, Any]:
        state = task.starts[0]
        sites = equations.sites(equations.forward(state, noise)[1])
        return {name: equations.averages(name, sites[name]) for name in sites}

    means = jax.eval_shape(averages)
    return means, jax.eval_shape(equations.assemble, means)


def _linear(equations: FieldEquations, means: Any) -> bool:
    """Whether observables are linear in averages: their second derivative vanishes, somewhere in some direction."""
    rng = np.random.default_rng(0)
    at, along = (jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape)), means) for _ in range(2))

    return not any(np.any(value) for value in jax.tree.leaves(quickly(_second)(equations, at, along)))


def _second(equations: FieldEquations, at: Any, along: Any) -> Observables:
    """Second derivative of what is assembled from averages."""
    return second_derivative(equations.assemble, at, along)


def _numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _without_rounding(variance: Float[np.ndarray, "*axis"]) -> Float[np.ndarray, "*axis"]:
    """Exact zero where a variance is zero up to rounding, as that of centred predictions at t = 0."""
    return np.where(variance > 1e-20 * np.max(variance, initial=0.0), variance, 0.0)


Amplitudes = dict[str, Float[np.ndarray, "direction _neuron"]]


def _sources(
    task: Task, trained: Record, tolerance: float
) -> tuple[Float[np.ndarray, "source all"], Amplitudes, Amplitudes]:
    """v (direction, all) and c of every population, see the module docstring; of a population's v others have none.

    c twice: of all v, and without those that `LOOSER` times the tolerance would leave out.
    """
    by_population = {}
    for name in trained.x[0]:
        rows = quickly(_centred)(tuple(x[name] for x in trained.x))
        v = principal_directions(rows, tolerance)
        by_population[name] = v, np.asarray(_product(v, rows))
    rank = sum(len(v) for v, _ in by_population.values())
    amplitudes, larger, start = {}, {}, 0
    for population in task.equations.populations:
        name = population.name
        amplitudes[name], larger[name] = np.zeros((2, _compiled_for(rank), task.noise[name].shape[1]))
        if name in by_population:
            c = by_population[name][1]
            sizes = np.linalg.norm(c, axis=1, keepdims=True)
            large = c * (sizes > LOOSER * tolerance * np.max(sizes, initial=0.0))
            for filled, rows in ((amplitudes, c), (larger, large)):
                filled[name][start : start + len(c)] = rows
            start += len(c)
    return np.concatenate([v for v, _ in by_population.values()]), amplitudes, larger


def _centred(x: tuple[Float[Array, "_saved _step _seen output neuron"], ...]) -> Float[Array, "all neuron"]:
    """Contributions that anything observed depends on, those before the last saved time, less their means."""
    rows = [jnp.concatenate([each[:-1], jnp.zeros_like(each[-1:])]).reshape(-1, each.shape[-1]) for each in x]
    return jnp.concatenate([each - jnp.mean(each, axis=1, keepdims=True) for each in rows])


def _product(
    a: Float[np.ndarray | Array, "row inner"], b: Float[np.ndarray | Array, "inner column"]
) -> Float[Array, "row column"]:
    """NumPy's products, like its decompositions, may keep all processors busy with waiting for each other."""
    return quickly(jnp.matmul)(a, b)


def principal_directions(rows: Float[Array, "row column"], tolerance: float) -> Float[np.ndarray, "direction row"]:
    """Orthonormal directions that span the columns, up to what is smaller by `tolerance` than the largest, about.

    They are found among random combinations of the columns, of which there are more and more until they suffice (Halko,
    Martinsson & Tropp 2011). There are whole blocks of them, if there are columns for it.
    """
    count, most = 64, min(rows.shape)
    while True:
        count = min(count, most)
        draws = np.random.default_rng(0).standard_normal((rows.shape[1], count))
        columns, triangle, _ = qr(_product(rows, draws), mode="economic", pivoting=True, check_finite=False)
        # Positive numbers on the diagonal are sizes, the largest first.
        directions, sizes = (columns * np.sign(np.diag(triangle))).T, np.abs(np.diag(triangle))
        kept = int(np.sum(sizes > tolerance * sizes[0]))
        if count == most or kept < 0.8 * count:
            resolved = int(np.sum(sizes > 1e-13 * sizes[0]))
            return directions[: min(kept + -kept % BLOCK, resolved)]
        count *= 2


def _responses(task: Task, trained: Record, sources: Float[np.ndarray, "source all"]) -> Driven:
    """To every source, and to nothing for the directions that sources are filled up with."""
    shapes = source_shapes(task.training)
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    filled = _filled(sources, _places(len(sources), BLOCK))
    parts = []
    for block in filled.reshape(-1, BLOCK, filled.shape[1]):
        each = zip(np.split(block, ends, axis=1), shapes, strict=True)
        parts.append(quickly(driven)(task, trained.f, tuple(v.reshape(-1, *shape) for v, shape in each)))
    return jax.tree.map(lambda *a: _filled(np.concatenate(a), _compiled_for(len(sources))), *_numpy(parts))


def _filled(a: Float[np.ndarray, "row *rest"], rows: int) -> Float[np.ndarray, "filled *rest"]:
    """With rows of zeros."""
    return np.concatenate([a, np.zeros((rows - len(a), *a.shape[1:]))])


def _places(count: int, unit: int) -> int:
    """The least multiple of `unit` that holds so many, at least one."""
    return max(1, -(-count // unit)) * unit


def _compiled_for(sources: int) -> int:
    """Their number with those that they are filled up with."""
    return _places(sources, min(FILLED, max(BLOCK, 1 << max(sources - 1, 0).bit_length())))


def _covariances(
    neurons: Influences, everything: bool
) -> tuple[
    Float[Array, "saved point output saved point output"] | None,
    Float[Array, "saved point output output"],
    Float[Array, "saved kernel layer kernel layer"] | None,
]:
    """N Cov of all predictions or None, of the outputs at every point, of the strengths of layers or None."""
    equal_time, full, layers = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    for psi in neurons.prediction.values():
        count, *shape = jnp.moveaxis(psi, 1, 0).shape
        equal_time = equal_time + jnp.einsum("tipc,tipd->tpcd", psi, psi) / count
        if everything:
            flat = jnp.moveaxis(psi, 1, -1).reshape(-1, count)
            full = full + (flat @ flat.T).reshape(*shape, *shape) / count
    for strength in neurons.strength.values():
        layers = layers + jnp.einsum("tial,tibm->talbm", strength, strength) / strength.shape[1]
    return full if everything else None, equal_time, layers if neurons.strength else None


def _bias(task: Task, trained: Record, responses: Driven, amplitudes: Amplitudes, key: Key[Array, ""] | None) -> Arrays:
    terms = {name: np.asarray(_product(c, c.T)) / c.shape[1] for name, c in amplitudes.items()}
    covariance = sum(term / task.widths[name] for name, term in terms.items())
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root, so that the same numbers give nearly the same changes where directions are left out.
    factor = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    neurons = next(iter(amplitudes.values())).shape[1]
    pair = responses.f, responses.residual
    runs = [
        _numpy(quickly(curvature)(task, trained.f, pair, factor, draws, amplitudes))
        for draws in _draws(responses.residual, factor, neurons, key)
    ]
    return jax.tree.map(lambda *a: np.mean(a, axis=0), *runs)


def _draws(
    residual: tuple[Float[np.ndarray | Array, "direction ..."], ...],
    factor: Float[np.ndarray, "direction direction"],
    neurons: int,
    key: Key[Array, ""] | None,
) -> Iterable[Float[Array, "direction neuron"]]:
    """Numbers of unit covariance on average over neurons and runs, for each run."""
    if key is not None:
        yield jax.random.normal(key, (len(factor), neurons))
        return
    rows = np.concatenate([np.reshape(part, (len(part), -1)) for part in residual], axis=1)
    principal, strengths, _ = np.linalg.svd(factor.T @ rows, full_matrices=False)
    kept = principal.T[: max(1, int(np.sum(strengths > 1e-10 * strengths[0])))]
    for direction in kept:
        yield jnp.sqrt(len(kept)) * jnp.repeat(direction[:, None], neurons, axis=1)
