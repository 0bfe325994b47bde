"""Online learning: the same training as on fixed points, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import experiment
from jaxtyping import Array
from networks_of import dense_network

import fwdmft
from fwdmft.datasets.loading import load_points
from fwdmft.datasets.streams import with_stream
from fwdmft.engine import neurons
from fwdmft.engine.dynamics import TrainingSignal, training_signal
from fwdmft.engine.field_equations import FieldEquations, Unsupported
from fwdmft.engine.simulation import Observing, infinite_width
from fwdmft.experiment.loss import SquaredError
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.training import trainer
from fwdmft.optimization import Plan, Stream
from fwdmft.program.equations import ForwardProgram
from fwdmft.program.weights import InputWeights
from fwdmft.registry import registry
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import ROUNDING, assert_equal

X, Y, TRAIN = points(5, 4, test=2)
BATCHES = np.array([[0, 2], [2, 0], [2, 1], [0, 1], [1, 2]])
GAMMA0, SIGMA_W, SIGMA_B = 1.5, 1.3, 0.5
ROWS = np.column_stack([SIGMA_W * X / 2.0, np.full(len(X), SIGMA_B)])
"""What multiplies the standard normal numbers of a neuron's input weights and bias."""

PLAN = Plan(0.3 * np.linspace(1, 2, 5), BATCHES, momentum=0.4, weight_decay=0.1)
MEAN = SquaredError(reduction="mean")


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def fed(plan: Plan) -> Plan:
    """Online training on the points that the plan's batches visit, one after the other."""
    assert plan.batches is not None
    visited = np.flatnonzero(TRAIN)[plan.batches.ravel()]
    in_turn = np.arange(plan.batches.size).reshape(plan.batches.shape)
    return replace(plan, batches=in_turn).on_stream(Stream(X[visited], Y[visited]))


def on_points(shown: np.ndarray, depth: int, activation: str = "tanh") -> ForwardProgram:
    sigma_w = (SIGMA_W,) * (depth + 1)
    return dense_network(X[shown], GAMMA0, sigma_w=sigma_w, activation=activation, bias=SIGMA_B, center=False)


def carried(offline: ForwardProgram, shown: np.ndarray) -> ForwardProgram:
    return offline.carrying(X[shown], BATCHES.shape[1])


def seen(equations: FieldEquations, noise: dict[str, np.ndarray], training: TrainingSignal) -> dict[str, np.ndarray]:
    actual = infinite_width(equations, lambda _: jax.tree.map(jnp.asarray, noise), training, Observing())
    assert actual is not None and actual.equations is equations
    return actual.seen


def among(shown: np.ndarray, values: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
    for axis, dim in enumerate(dims):
        if dim.startswith("point"):
            values = np.compress(shown, values, axis=axis + 1)
    return values


@pytest.mark.parametrize(("depth", "save_every", "shown"), [(1, 2, ~TRAIN), (2, 1, np.ones(5, bool))])
def test_repeated_points_are_offline_training_at_infinite_width(depth: int, save_every: int, shown: np.ndarray) -> None:
    """Of neurons whose weights give the same preactivations.

    Where random matrices are between layers, the same points have to be observed at the same times, so that directions
    get the same noise; then training agrees with what was observed just before.
    """
    offline, online = on_points(np.ones(5, bool), depth), carried(on_points(shown, depth), shown)
    (inputs,) = offline.inputs
    assert isinstance(inputs, InputWeights)
    noise = neurons.sample(offline.populations, offline.supplies, 256, seed=3)
    own, of_inputs = np.split(noise["hidden_1"], [-inputs.rank])
    weights = np.linalg.lstsq(ROWS, inputs.factor @ of_inputs, rcond=None)[0]
    first = np.concatenate([own, weights])
    none = np.zeros(int(shown.sum()), bool)
    expected = seen(offline, noise, training_signal(PLAN, MEAN, Y, TRAIN, save_every))
    training = training_signal(fed(PLAN), MEAN, Y[shown], none, save_every)
    online = replace(online, capacities=offline.capacities)
    actual = seen(online, noise | {"hidden_1": first}, training)
    assert set(actual) == set(offline.dims)
    for name, dims in offline.dims.items():
        assert_equal(name, actual[name], among(shown, expected[name], dims))


def recursion(A: Array, B: Array, C: Array) -> dict[str, Array]:
    """Linear networks of any width on the stream, whose weights enter only through A = <w W>, B = <W W^T>, C = <w w>.

    Biases are weights of one more input: with r = (x / sqrt(D), sigma_b), v = eta gamma0 sum_mu Delta_mu r_mu and
    k = 1 - eta lambda, a step is W <- k W + w v, w <- k w + W.v. Then f = A.r / gamma0, K(x, x') = r.B r' + C r.r'.
    """
    rows = np.column_stack([X / 2.0, np.full(len(X), SIGMA_B)])
    test, f, K = rows[~TRAIN], [], []
    for rate, batch in zip(0.3 * np.linspace(1, 2, 5), BATCHES, strict=True):
        f.append(test @ A / GAMMA0)
        K.append(test @ B @ test.T + C * test @ test.T)
        batch_rows, targets = rows[TRAIN][batch], Y[TRAIN][batch, 0]
        v = rate * GAMMA0 * ((targets - batch_rows @ A / GAMMA0) / len(batch)) @ batch_rows
        k = 1 - rate * 0.1
        A, B, C = (
            k**2 * A + k * C * v + k * B @ v + (A @ v) * v,
            k**2 * B + k * (jnp.outer(A, v) + jnp.outer(v, A)) + C * jnp.outer(v, v),
            k**2 * C + 2 * k * A @ v + v @ B @ v,
        )
    kept = np.array([0, 2, 4])
    return {"prediction": jnp.stack(f)[kept, :, None], "tangent_kernel": jnp.stack(K)[kept][:, :, None, :, None]}


def test_linear_networks_on_a_stream() -> None:
    """Exactly, for any neurons."""
    online = carried(on_points(~TRAIN, 1, "linear"), ~TRAIN)
    noise = neurons.sample(online.populations, online.supplies, 16, seed=3)
    w, W = SIGMA_W * noise["hidden_1"][0], noise["hidden_1"][1:] * np.array([SIGMA_W] * 4 + [1.0])[:, None]
    training = training_signal(fed(replace(PLAN, momentum=0.0)), MEAN, Y[~TRAIN], np.zeros(2, bool), save_every=2)
    actual = seen(online, noise, training)
    exact = recursion(*(jnp.asarray(a) for a in (W @ w / 16, W @ W.T / 16, w @ w / 16)))
    for name, expected in exact.items():
        assert_equal(name, actual[name], expected)


def test_repeated_points_are_offline_training_of_a_network() -> None:
    spec, architecture = {"kind": "mlp", "activation": "tanh", "bias": 0.5}, registry().get("architecture", "mlp")
    settings = {"parameterization": MeanField(center=False), "loss": MEAN, "save_every": 2}
    offline = Case("offline", architecture, spec, X, Y, TRAIN, **settings)
    online = Case("online", architecture, spec, X[~TRAIN], Y[~TRAIN], np.zeros(2, bool), **settings)
    key = jax.random.key(0)[None]
    expected, actual = (
        trainer(each.task(plan, kernels=False), 6)(key) for each, plan in ((offline, PLAN), (online, fed(PLAN)))
    )
    np.testing.assert_allclose(actual["prediction"], expected["prediction"][:, :, ~TRAIN], atol=ROUNDING)
    np.testing.assert_allclose(actual["loss"][0, :, 1], expected["loss"][0, :, 1], atol=ROUNDING)
    assert np.isnan(actual["loss"][0, :, 0]).all()


def settings(**changes: object) -> dict:
    """An experiment with online learning, one part at a time replaced."""
    return experiment(
        **{
            "parameterization": {"kind": "mean_field", "center": False},
            "optimizer": online(),
            "data": {"kind": "gaussian", "features": 4, "train": 25, "test": 2},
            "theory": {"neurons": 64, "replicates": 2, "fluctuations": False, "bias": False},
            "ensemble": {"widths": [4], "members": 2},
            **changes,
        }
    )


def online(**changes: object) -> dict:
    steps = {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 10}
    return {
        name: value for name, value in {**steps, "data": "online", "batch": {"size": 2}, **changes}.items() if value
    }


def test_points_come_once_and_in_order() -> None:
    loaded = fwdmft.load_experiment(settings())
    dataset = load_points(loaded)
    observed, plan = with_stream(dataset, loaded.optimizer.plan(dataset.n_train))
    assert plan.stream is not None and plan.batches is not None
    np.testing.assert_array_equal(plan.stream.x[plan.batches.ravel()], dataset.x[:20])
    np.testing.assert_array_equal(plan.stream.y[plan.batches.ravel()], dataset.y[:20])
    np.testing.assert_array_equal(observed.x, dataset.x[25:])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": online(steps=13)}, "data.train: got 25; expected at least 26 training points, 2 fresh ones at"),
        ({"optimizer": online(batch=None)}, "optimizer.batch: got nothing; expected batch: {size: B}"),
        ({"optimizer": online(batch={"size": 2, "seed": 1})}, "optimizer.batch.seed: got 1; expected no seed online"),
        ({"optimizer": online(steps=None, epochs=2)}, "optimizer.epochs: got 2; expected 1 online"),
        (
            {"theory": {"kernel_points": 2}},
            "theory.kernel_points: got 2; expected no number in online",
        ),
        (
            {"ensemble": {"widths": [4], "kernel_points": 2}},
            "ensemble.kernel_points: got 2; expected no number in online",
        ),
        ({"parameterization": {"kind": "mean_field"}}, "parameterization.center: got True; expected false in online"),
        ({"parameterization": {"kind": "neural_tangent"}}, "parameterization.center: got True; expected false in"),
        ({"data": {"kind": "gaussian", "features": 4, "train": 25, "test": 0}}, "data.test: got 0; expected at least"),
        ({"architecture": {"kind": "cnn", "depth": 1}}, "optimizer.data: got 'online'; expected offline for arch"),
    ],
)
def test_refusals(changes: dict, expected: str) -> None:
    with pytest.raises(fwdmft.InputError) as refusal:
        load_points(fwdmft.load_experiment(settings(**changes)))
    assert expected in str(refusal.value)


def test_equations_that_cannot_carry_their_weights() -> None:
    """Centred ones, those of images, and those on anything but the points."""
    equations = dense_network(X, 1.0, center=False)
    equations.carrying(X, 1).on(jnp.asarray(2 * X))
    for x in (2 * X, X[:, None, :, None]):
        with pytest.raises(Unsupported, match="shown what was read off the points"):
            equations.carrying(x, 1)
    with pytest.raises(Unsupported, match="centred"):
        dense_network(X, 1.0).carrying(X, 1)
    with pytest.raises(Unsupported, match="ForwardProgram is on fixed points"):
        equations.on(jnp.asarray(X))
