"""Sigma and b of two layers, against dense derivatives in the weights of a few neurons and against a closed form."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from networks_of import dense_network

from fwdmft.corrections import linear_response as module
from fwdmft.corrections.driven import source_shapes
from fwdmft.corrections.linear_response import (
    FILLED,
    Response,
    affordable,
    linear_response,
    numbers,
    principal_directions,
)
from fwdmft.engine import neurons
from fwdmft.engine.dynamics import TrainingSignal, training_signal
from fwdmft.engine.field_equations import FieldEquations, Observables
from fwdmft.engine.layers import strengths
from fwdmft.engine.neurons import Population
from fwdmft.errors import ComputationError
from fwdmft.experiment.loss import Logistic, LossSpec, SoftmaxCrossEntropy, SquaredError
from fwdmft.optimization import Plan, RichardsonLevel, Stream
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.state import ProgramFields
from fwdmft.testing.agreement import Estimate, assert_equal, assert_zero
from tests.oracles.dense_influence import Dense, Network, Neurons, dense, observables

X = np.array([[1.2, -0.7, 0.4], [0.3, 1.1, -0.8], [-0.5, 0.6, 1.3]])
Y = np.array([[1.0, -0.5], [0.4, 0.8], [0.0, 0.0]])
CLASSES = np.array([[0.7, 0.3], [0.1, 0.9], [0.5, 0.5]])
SIGNS = np.array([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
NEURONS, STEPS, RATE = 12, 6, 0.3
STREAM = Stream(np.random.default_rng(1).standard_normal((10, 3)), np.random.default_rng(2).standard_normal((10, 2)))


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _softmax(f: Array, y: np.ndarray) -> Array:
    return (y - jax.nn.softmax(f, axis=1)) / len(y)


def _logistic(f: Array, y: np.ndarray) -> Array:
    return y / (1 + jnp.exp(y * f))


@dataclass(frozen=True)
class Case:
    """delta: -d loss / d f, as the oracle has it. network, plan: settings of these."""

    y: np.ndarray = field(default_factory=lambda: Y)
    loss: LossSpec = SquaredError()
    delta: Any = staticmethod(lambda f, y: y - f)
    network: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    save_every: int = 1


CASES = {
    "momentum": Case(network={"sigma_w": (1.1, 0.8), "bias": 0.3}, plan={"momentum": 0.4, "weight_decay": 0.1}),
    "interval": Case(plan={"momentum": 0.4}, save_every=2),
    "softmax": Case(
        y=CLASSES,
        loss=SoftmaxCrossEntropy(reduction="mean"),
        delta=_softmax,
        network={"center": False},
        plan={"batches": np.array([[0], [1], [1], [0], [1], [0]])},
    ),
    "logistic": Case(y=SIGNS, loss=Logistic(), delta=_logistic, network={"widths": (1.5,)}),
    "ladder": Case(plan={"ladder": (RichardsonLevel(1, -1.0), RichardsonLevel(2, 2.0))}),
    "online": Case(
        network={"sigma_w": (1.2, 1.0), "bias": 0.3, "center": False},
        plan={"stream": STREAM, "batches": np.array([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [0, 5]])},
    ),
}


def _equations(network: dict[str, Any]) -> ForwardProgram:
    return dense_network(X, 1.5, outputs=2, smooth=True, **network)


def _posed(case: Case) -> tuple[ForwardProgram, dict[str, np.ndarray], TrainingSignal]:
    train = np.array([True, True, False])
    equations = _equations(case.network)
    if "stream" in case.plan:
        equations, train = equations.carrying(X, 2), np.zeros(3, bool)
    training = training_signal(Plan(np.full(STEPS, RATE), **case.plan), case.loss, case.y, train, case.save_every)
    return equations, neurons.sample(equations.populations, equations.supplies, NEURONS, seed=3), training


def _neurons(equations: ForwardProgram, noise: np.ndarray) -> Neurons:
    """The same neurons, with explicit weights: any that give the preactivations of the points."""
    (readout,), (inputs,), (of_inputs,) = equations.structure.readouts, equations.inputs, equations.structure.inputs
    sigma_b = of_inputs.bias
    w, z = readout.sigma * noise[:2], noise[2:]
    reading = np.concatenate([X / 3**0.5, np.full((3, 1), sigma_b)], axis=1)
    if hasattr(inputs, "scales"):
        weights = np.asarray(inputs.scales)[:, None] * z
    else:
        weights = np.linalg.pinv(reading) @ np.asarray(inputs.initial(jnp.asarray(z)))
    b = weights[3] if len(weights) > 3 else np.zeros(noise.shape[1])
    return Neurons(jnp.asarray(weights[:3].T), jnp.asarray(w.T), jnp.asarray(b))


def _network(case: Case, substeps: int) -> Network:
    plan, (x, y) = case.plan, (X[:2], case.y[:2])
    if "stream" in plan:
        x, y = plan["stream"]
    chosen = [slice(None)] * STEPS if "batches" not in plan else plan["batches"]
    return Network(
        x=X,
        batches=(jnp.stack([x[batch] for batch in chosen]), jnp.stack([y[batch] for batch in chosen])),
        delta=case.delta,
        phi=jnp.tanh,
        widths=np.full(NEURONS, case.network.get("widths", (1.0,))[0]),
        gamma0=1.5,
        rate=RATE,
        sigma_b=case.network.get("bias", 0.0),
        momentum=plan.get("momentum", 0.0),
        weight_decay=plan.get("weight_decay", 0.0),
        center=case.network.get("center", True),
        substeps=substeps,
    )


@cache
def _exact(name: str) -> Dense:
    case = CASES[name]
    equations, noise, _ = _posed(case)
    start = _neurons(equations, noise["hidden_1"])
    ladder = case.plan.get("ladder", (RichardsonLevel(1, 1.0),))
    saved = [*range(0, STEPS - 1, case.save_every), STEPS - 1]

    def q(p: Array) -> Observables:
        levels = [observables(_network(case, level.substeps), start, p) for level in ladder]
        parts = [jax.tree.map(lambda a, r=level: r.coefficient * a, q) for level, q in zip(ladder, levels, strict=True)]
        return jax.tree.map(lambda *a: sum(a)[np.array(saved)], *parts)

    return dense(q, np.zeros(NEURONS, int), _network(case, 1).widths)


def _close(actual: np.ndarray, expected: Array | np.ndarray, name: str) -> None:
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, name
    assert_equal(name, actual, expected)


@cache
def _computed(name: str) -> Response:
    return linear_response(*_posed(CASES[name]), bias=True, covariance=True, key=None, tolerance=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_dense_derivatives(name: str) -> None:
    exact, actual = _exact(name), _computed(name)
    for observable, psi in exact.psi.items():
        _close(actual.mean[observable], exact.mean[observable], observable)
        _close(actual.variance[observable], jnp.sum(psi**2, axis=-1), observable)
        _close(actual.bias[observable], exact.bias[observable], observable)
    psi = np.asarray(exact.psi["prediction"])
    _close(actual.prediction_covariance, np.einsum("tmci,undi->tmcund", psi, psi), "covariance")
    _close(actual.equal_time_covariance, np.einsum("tmci,tmdi->tmcd", psi, psi), "at equal times")
    by_neuron = {observable: jnp.moveaxis(psi, -1, 0) for observable, psi in exact.psi.items()}
    strength = np.asarray(strengths(by_neuron))
    _close(actual.layer_covariance, np.einsum("ital,itbm->talbm", strength, strength), "layers")


def test_random_directions_give_the_exact_sum_on_average() -> None:
    """In all entries that are not exact by themselves, by the errors of 100 draws."""
    equations, noise, training = _posed(CASES["momentum"])
    exact = _exact("momentum").bias
    draws = [
        linear_response(equations, noise, training, bias=True, covariance=False, key=key, tolerance=1e-14).bias
        for key in jax.random.split(jax.random.key(0), 100)
    ]
    for name in exact:
        expected = np.asarray(exact[name])
        each = np.stack([draw[name] for draw in draws])
        error = each.std(axis=0, ddof=1) / len(each) ** 0.5
        scale = np.abs(expected).max()
        assert error.max() < 0.3 * scale, f"{name}: too uncertain to tell"
        assert_zero(name, Estimate.of(each.mean(axis=0) - expected, error, len(each)), float(scale))


def test_some_neurons_respond_for_all() -> None:
    """Neurons that are there twice change nothing, and it is enough if each responds once."""
    equations, noise, training = _posed(CASES["interval"])
    twice = {name: np.concatenate([rows, rows], axis=1) for name, rows in noise.items()}
    expected = _computed("interval")
    for responding in (None, NEURONS):
        actual = linear_response(
            equations, twice, training, bias=True, covariance=True, key=None, tolerance=1e-14, responding=responding
        )
        for name in expected.variance:
            _close(actual.variance[name], expected.variance[name], name)
            _close(actual.bias[name], expected.bias[name], name)


def test_what_is_left_out_is_reported() -> None:
    """Where training has taken away nearly all of N Var f, too, directions that are left out are within the error."""
    equations = dense_network(X, 1.0, outputs=2, smooth=True)
    training = training_signal(Plan(np.full(30, 0.2)), SquaredError(), Y, np.array([True, True, False]), 3)
    noise = neurons.sample(equations.populations, (), 256, seed=3)
    coarse, exact = (
        linear_response(
            equations, noise, training, bias=True, covariance=False, key=jax.random.key(0), tolerance=t, truncation=True
        )
        for t in (0.1, 1e-6)
    )
    assert coarse.rank < exact.rank
    for part in ("variance", "bias"):
        left_out, left_out_exact = coarse.truncation[part]["prediction"], exact.truncation[part]["prediction"]
        change = getattr(coarse, part)["prediction"] - getattr(exact, part)["prediction"]
        for time, (error, most) in enumerate(zip(change, left_out, strict=True)):
            if time:
                assert 0 < np.sqrt(np.mean(error**2)) < np.sqrt(np.mean(most**2)), f"{part} at time {time}"
        assert left_out_exact.max() < 1e-3 * left_out.max()


def test_many_directions() -> None:
    """More directions than are tried at first are found, and cut where the others are small."""
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.ones(150), np.full(100, 1e-9)])
    left, right = (np.linalg.qr(rng.standard_normal((n, 250)))[0] for n in (400, 500))
    rows = (left * sizes) @ right.T
    v = principal_directions(jnp.asarray(rows), 1e-5)
    assert 150 <= len(v) < 150 + module.BLOCK
    np.testing.assert_allclose(v @ v.T, np.eye(len(v)), atol=1e-12)
    assert np.linalg.norm(rows - v.T @ (v @ rows), 2) < 1e-5


def test_worked_case() -> None:
    """The closed form of `fwdmft.engine`: one point, phi(h) = h, q is a function of A = <w h> and K at t = 0.

    36 neurons have the moments of Gaussians up to the fourth, which is all that enters.
    """
    gamma0, eta, y, steps = 1.3, 0.2, 0.8, 6

    def trained(start: Array) -> dict[str, Array]:
        (a, k), f, kernels = start, [], []
        product = a / gamma0  # <w h> / gamma0, uncentred
        for _ in range(steps):
            f.append(product - a / gamma0)
            kernels.append(k)
            slope = eta * gamma0 * (y - f[-1])
            product, k = (
                product + slope * k / gamma0 + slope**2 * product,
                (1 + slope**2) * k + 4 * slope * gamma0 * product,
            )
        return {
            "prediction": jnp.stack(f)[:, None, None],
            "tangent_kernel": jnp.stack(kernels)[:, None, None, None, None],
        }

    node = np.array([3**0.5, -(3**0.5), 0, 0, 0, 0])
    noise = {"hidden_1": np.stack([a.ravel() for a in np.meshgrid(node, node)])}
    equations = dense_network(np.array([[1.0, -1.0, 1.0]]), gamma0, activation="linear")
    training = training_signal(Plan(np.full(steps, eta)), SquaredError(), np.array([[y]]), np.array([True]), 1)
    actual = linear_response(equations, noise, training, bias=True, covariance=False, key=None, tolerance=1e-14)
    start = jnp.array([0.0, 2.0])
    q, slope, bend = trained(start), jax.jacfwd(trained)(start), jax.hessian(trained)(start)
    for name in q:
        _close(actual.mean[name], q[name], name)
        _close(actual.variance[name], slope[name][..., 0] ** 2 + 4 * slope[name][..., 1] ** 2, name)
        _close(actual.bias[name], (bend[name][..., 0, 0] + 4 * bend[name][..., 1, 1]) / 2, name)
    np.testing.assert_allclose(actual.variance["prediction"][1].item(), 4 * (eta * y) ** 2 + (eta * y) ** 4 * gamma0**2)


def test_nothing_is_trained() -> None:
    """At initialisation neurons have no influence on each other: Sigma is the variance over neurons, b vanishes."""
    equations, noise, _ = _posed(CASES["momentum"])
    training = training_signal(Plan(np.full(1, RATE)), SquaredError(), Y, np.array([True, True, False]), 1)
    actual = linear_response(equations, noise, training, bias=True, covariance=True, key=None)
    theta = _neurons(equations, noise["hidden_1"])
    phi = np.tanh(np.asarray(theta.W @ X.T / 3**0.5 + 0.3 * theta.b[:, None]))
    _close(actual.variance["feature_kernel"][0, 0], (phi[:, :, None] * phi[:, None]).var(axis=0), "feature_kernel")
    assert actual.rank == 0 and not np.any(actual.variance["prediction"])
    assert not any(np.any(value) for value in actual.bias.values())


class SumFields(NamedTuple):
    """Fields of both networks, and the predictions."""

    parts: tuple[ProgramFields, ...]
    f: Array


class Sum(FieldEquations):
    """Two networks side by side whose predictions are added."""

    parts: tuple[ForwardProgram, ForwardProgram]
    gamma0: Array

    def _each(self, values: Any) -> list[Any]:
        """What the parts call "hidden_1"."""
        return [{"hidden_1": values[name]} for name in "ab"]

    @property
    def populations(self) -> tuple[Population, ...]:
        return tuple(replace(part.populations[0], name=name) for name, part in zip("ab", self.parts, strict=True))

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return {"prediction": ("point", "output")}

    def initial(self, noise: Any, matrices: Any, momentum: bool) -> Any:
        return [part.initial(each, (), momentum) for part, each in zip(self.parts, self._each(noise), strict=True)]

    def forward(self, state: Any, noise: Any) -> Any:
        every = zip(self.parts, state, self._each(noise), strict=True)
        states, fields = zip(*(part.forward(state, noise) for part, state, noise in every), strict=True)
        return list(states), SumFields(fields, fields[0].f + fields[1].f)

    def step(self, state: Any, fields: SumFields, residual: Any, update: Any) -> Any:
        every = zip(self.parts, state, fields.parts, strict=True)
        return [part.step(state, each, residual, update) for part, state, each in every]

    def sites(self, fields: SumFields) -> Any:
        every = zip("ab", self.parts, fields.parts, strict=True)
        return {name: part.sites(each)["hidden_1"] for name, part, each in every}

    def prediction_sites(self, sites: Any) -> Any:
        return {name: sites[name].f for name in "ab"}

    def averages(self, population: str, sites: Any) -> Any:
        return self.parts["ab".index(population)].averages("hidden_1", sites)

    def assemble(self, averages: Any) -> Observables:
        return {"prediction": averages["a"].prediction + averages["b"].prediction}


def test_two_populations() -> None:
    case = replace(CASES["momentum"], network={})
    parts = _equations({}), _equations({"widths": (1.5,)})
    equations = Sum(parts, jnp.asarray(1.5))
    noise = neurons.sample(equations.populations, (), NEURONS, seed=4)
    _, _, training = _posed(case)
    actual = linear_response(equations, noise, training, bias=True, covariance=True, key=None, tolerance=1e-14)
    pair = [_neurons(part, noise[name]) for name, part in zip("ab", parts, strict=True)]
    start = jax.tree.map(lambda *a: jnp.concatenate(a), *pair)
    network = replace(_network(case, 1), widths=np.repeat([1.0, 1.5], NEURONS))
    exact = dense(
        lambda p: {"prediction": observables(network, start, p)["prediction"]},
        np.repeat([0, 1], NEURONS),
        network.widths,
    )
    _close(actual.variance["prediction"], jnp.sum(exact.psi["prediction"] ** 2, axis=-1), "variance")
    _close(actual.bias["prediction"], exact.bias["prediction"], "bias")
    assert actual.layer_covariance is None


class Squared(ForwardProgram):
    """Observes squares of averages."""

    def assemble(self, averages: Any) -> Observables:
        return {name: value**2 for name, value in super().assemble(averages).items()}


def test_affordable() -> None:
    equations, _, training = _posed(CASES["momentum"])
    assert affordable(equations, training, 1 << 14)
    assert not affordable(equations, training, 1 << 24)
    deep = _equations({"sigma_w": (1.0, 1.0, 1.0)})
    assert not affordable(deep, training, 1 << 10)
    assert not affordable(replace(equations, twice=False), training, 1 << 10)
    squared = Squared(**{name: getattr(equations, name) for name in equations.__dataclass_fields__})
    assert not affordable(squared, training, 1 << 10)


@pytest.mark.parametrize("name", ["momentum", "interval"])
def test_numbers_are_those_of_neurons_or_of_responses(name: str) -> None:
    """Contributions of many neurons to predictions; else the responses of observables to `FILLED` sources."""
    equations, _, training = _posed(CASES[name])
    (trained,) = source_shapes(training)
    assert numbers(equations, training, 1 << 20) == np.prod(trained) << 20
    f, kernels = 3 * 2, 3**2 * (1 + 2**2 + 2**2)
    assert numbers(equations, training, 1) == FILLED * len(training.rates) * (f + kernels)


def test_few_numbers_of_sources_are_compiled_for() -> None:
    """Samplings of one experiment have ranks that differ by a block or two."""
    filled = {rank: module._compiled_for(rank) for rank in (0, 8, 9, 16, 24, 40, 64, 72, 80, 88, 96)}
    assert filled == {0: 8, 8: 8, 9: 16, 16: 16, 24: 32, 40: 64, 64: 64, 72: 96, 80: 96, 88: 96, 96: 96}


def test_overflow_is_reported() -> None:
    """Influences that overflow before predictions do are no NaN in a file."""
    equations, noise, training = _posed(CASES["momentum"])
    noise["hidden_1"][0, 0] = np.inf
    with pytest.raises(ComputationError, match="influence of single neurons overflows"):
        linear_response(equations, noise, training, bias=False, covariance=False, key=None)
