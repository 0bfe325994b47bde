"""Control variates: what mean-field neurons contribute to order parameters.

In the limit of infinite width a neuron acts on all others only through its contributions to averages, so the linear
influence of a neuron is a combination of the contributions that it makes along its mean-field trajectory. A large
simulation records the averages of training. Under this record any neuron is simulated by itself (`replayed_matrix`),
from the random numbers that it also has in a finite network. The mean of its contributions is known from the neurons
of the large simulation, and so is their covariance.

Contributions are products of two fields (`FieldEquations.contributions`) at a few times. Fields are reduced to their
principal components first, the products then to theirs. x stands for the latter, less their mean, scaled to variance 1.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import block_diag

from fwdmft.compiling import quickly
from fwdmft.engine import averages
from fwdmft.engine.averages import AverageRecord
from fwdmft.engine.basis_matrix import BasisMatrix
from fwdmft.engine.dynamics import TrainingSignal, Trajectory, one_pass, updates
from fwdmft.engine.field_equations import Contribution, FieldEquations, Noise
from fwdmft.engine.replayed_matrix import MatrixRecord, recorded, replayed
from fwdmft.engine.simulation import gaussian_matrices

FIELDS = 12
"""Principal components of a field."""

COMPONENTS = 100
"""Principal components of the contributions of a population."""

BLOCKS = 8
"""Blocks of neurons from which the error of the covariance is estimated."""

_FITTED = 4096
"""Neurons from which principal components are computed."""

Pairs = tuple[Contribution, ...]


class Combination(NamedTuple):
    """x of a population from its products: weights (component, product), offset (component,).

    fields: principal components (component, row) of the two fields of each contribution.
    """

    fields: Pairs
    weights: Float[Array, "component product"]
    offset: Float[Array, " component"]


class Controls(eqx.Module):
    """Everything that gives x for a neuron's random numbers."""

    equations: FieldEquations
    training: TrainingSignal
    records: tuple[MatrixRecord, ...]
    averages: tuple[AverageRecord, ...]
    residuals: Float[Array, "step point output"]
    combinations: dict[str, Combination]

    @property
    def count(self) -> int:
        return sum(len(c.offset) for c in self.combinations.values())


class Replay(NamedTuple):
    """x: (component, neuron) of every population. matrices: the replayed ones, with all directions met."""

    x: dict[str, Float[Array, "component neuron"]]
    matrices: tuple[BasisMatrix, ...]


@quickly
def _recording_pass(equations: FieldEquations, noise: Noise, training: TrainingSignal) -> Trajectory:
    """With the records of matrices and averages in its state, and the residuals."""
    substeps = training.ladder[-1].substeps
    passes = updates(training, substeps)
    shape = jax.eval_shape(_prediction, equations, noise, gaussian_matrices(equations, noise, False)).shape
    matrices = gaussian_matrices(equations, noise, training.momentum != 0, passes)
    taken = averages.recording(equations.averages_taken, shape, passes)
    return one_pass(equations, noise, matrices, training, lambda *_: None, substeps, record=True, averages=taken)


def _prediction(equations: FieldEquations, noise: Noise, matrices: Any) -> Float[Array, "point output"]:
    return equations.forward(equations.initial(noise, matrices, momentum=False), noise)[1].f


def make_controls(
    equations: FieldEquations, noise: Noise, training: TrainingSignal, most: int = COMPONENTS
) -> Controls:
    """Controls from a large simulation with this noise.

    training: with few saved times, and without a stream. most: components of a population, at most.
    """
    seen = _recording_pass(equations, noise, training)
    pairs = zip(seen.state.matrices, equations.matrices, strict=True) if equations.matrices else ()
    records = tuple(recorded(own.forward.record, own.backward.record, matrix.uses) for own, matrix in pairs)
    taken = seen.state.averages.records if equations.averages_taken else ()
    equations = equations.with_capacities(tuple(record.capacities for record in records))
    bare = Controls(equations, training, records, taken, seen.residuals, {})
    made = {name: _combination(pairs, most) for name, pairs in _fields(bare, noise).items()}
    return eqx.tree_at(lambda c: c.combinations, bare, made)


class Known(NamedTuple):
    """Controls with x less its mean over many mean-field neurons.

    covariances: of x over further neurons, divided by the number of neurons of their population in units of N, each
    from a block of them (block, component, component), populations joined.
    """

    controls: Controls
    covariances: Float[np.ndarray, "block component component"]


def known(controls: Controls, noises: Iterable[Noise], further: Iterable[Noise]) -> Known:
    """Mean of x from the first neurons, covariance of x from further ones."""
    first, more = (
        [jax.tree.map(np.asarray, _moments(controls, noise)) for noise in each] for each in (noises, further)
    )
    widths = {population.name: population.width for population in controls.equations.populations}
    combinations, blocks = {}, []
    for name, each in controls.combinations.items():
        mean = np.mean([moments[name][0] for moments in first], axis=0)
        combinations[name] = each._replace(offset=each.offset + jnp.asarray(mean))
        own = np.mean([moments[name][0] for moments in more], axis=0)
        squares = np.concatenate([moments[name][1] for moments in more])
        blocks.append((squares - np.outer(own, own)) / widths[name])
    # Populations are independent.
    joined = np.stack([block_diag(*each) for each in zip(*blocks, strict=True)])
    return Known(eqx.tree_at(lambda c: c.combinations, controls, combinations), joined)


Moments = tuple[Float[Array, " _component"], Float[Array, "_block _component _component"]]


@quickly
def _moments(controls: Controls, noise: Noise) -> dict[str, Moments]:
    """Mean of x over neurons (component,), and second moments from blocks of them (block, component, component)."""

    def of(x: Float[Array, "component neuron"]) -> Moments:
        size = x.shape[1] // BLOCKS
        blocks = x[:, : size * BLOCKS].reshape(len(x), BLOCKS, size)
        return jnp.mean(x, axis=1), jnp.einsum("kbn,lbn->bkl", blocks, blocks) / size

    return {name: of(x) for name, x in replay(controls, noise).x.items()}


def _combination(pairs: Pairs, most: int) -> Combination:
    """The combination that suits these fields."""
    fields = jax.tree.map(lambda field: jnp.asarray(_principal(np.asarray(field))), pairs)
    values, mean, spread = _standard(fields, pairs)
    scatter = np.asarray(values[:, :_FITTED] @ values[:, :_FITTED].T / min(_FITTED, values.shape[1]))
    strengths, vectors = np.linalg.eigh(scatter)
    kept = slice(-min(most, int(np.sum(strengths > 1e-8 * strengths[-1]))), None)
    scaled = jnp.asarray((vectors[:, kept] / np.sqrt(strengths[kept])).T) / spread
    return Combination(fields, scaled, scaled @ mean)


@quickly
def _standard(
    fields: Pairs, pairs: Pairs
) -> tuple[Float[Array, "product neuron"], Float[Array, " product"], Float[Array, " product"]]:
    """Products of mean 0 and variance 1, their mean and their standard deviation."""
    values = _products(fields, pairs)
    mean, spread = jnp.mean(values, axis=1), jnp.std(values, axis=1)
    spread = jnp.where(spread > 1e-10 * jnp.max(spread), spread, jnp.inf)
    return (values - mean[:, None]) / spread[:, None], mean, spread


def _principal(rows: Float[np.ndarray, "row neuron"]) -> Float[np.ndarray, "component row"]:
    few = rows[:, :_FITTED]
    if len(few) > few.shape[1]:
        # The same from the smaller matrix, as points and times may be many.
        strengths, combinations = np.linalg.eigh(few.T @ few / few.shape[1])
        vectors = few @ (combinations / np.sqrt(few.shape[1] * np.maximum(strengths, np.finfo(float).tiny)))
    else:
        strengths, vectors = np.linalg.eigh(few @ few.T / few.shape[1])
    kept = min(FIELDS, int(np.sum(strengths > 1e-10 * strengths[-1])))
    return vectors[:, ::-1][:, :kept].T


def _products(fields: Pairs, pairs: Pairs) -> Float[Array, "product neuron"]:
    """Of the principal components of two fields; each pair of those of one field counts once."""
    values = []
    for (left, right), (left_rows, right_rows) in zip(fields, pairs, strict=True):
        a = left @ left_rows
        if right is None or right_rows is None:
            first, second = np.triu_indices(len(a))
            values.append(a[first] * a[second])
        else:
            values.append((a[:, None] * (right @ right_rows)).reshape(-1, a.shape[-1]))
    return jnp.concatenate(values)


@quickly
def _fields(controls: Controls, noise: Noise) -> dict[str, Pairs]:
    return _replayed(controls, noise)[0]


def replay(controls: Controls, noise: Noise) -> Replay:
    """x of mean-field neurons with these random numbers, in the numbers' precision."""
    fields, matrices = _replayed(controls, noise)
    x = {
        name: each.weights @ _products(each.fields, fields[name]) - each.offset[:, None]
        for name, each in controls.combinations.items()
    }
    return Replay(x, matrices)


def _replayed(controls: Controls, noise: Noise) -> tuple[dict[str, Pairs], tuple[BasisMatrix, ...]]:
    """Pairs of fields of mean-field neurons, (time row, neuron), and the matrices in the end."""
    equations, training = controls.equations, controls.training
    dtype = jnp.result_type(*noise.values())
    matrices = tuple(
        replayed(record, matrix.neurons(noise), training.momentum != 0, matrix.offsets, dtype)
        for matrix, record in zip(equations.matrices, controls.records, strict=True)
    )
    substeps = training.ladder[-1].substeps
    taken = averages.replayed(jax.tree.map(lambda a: jnp.asarray(a, dtype), controls.averages))

    def collect(equations: FieldEquations, fields: Any) -> dict[str, Pairs]:
        return equations.contributions(fields)

    seen = one_pass(
        equations, noise, matrices, training, collect, substeps, residuals=controls.residuals, averages=taken
    )
    return jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), seen.seen), seen.state.matrices if matrices else ()
