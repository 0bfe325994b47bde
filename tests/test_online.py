"""Online learning: the same training as on fixed points, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import experiment

import fwdmft
from fwdmft.activations import activation
from fwdmft.datasets.loading import load_points
from fwdmft.datasets.streams import with_stream
from fwdmft.meanfield import neurons
from fwdmft.meanfield.chain import Chain, make_chain
from fwdmft.meanfield.dynamics import make_drive
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.meanfield.passes import Problem, plain
from fwdmft.meanfield.weights import InputWeights
from fwdmft.meanfield.wiring import Wiring
from fwdmft.networks.training import trainer
from fwdmft.optimization import Plan, Stream
from fwdmft.registry import registry
from fwdmft.spec.loss import SquaredError
from fwdmft.spec.parameterization import MeanField
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import Estimate, assert_zero

X, Y, TRAIN = points(5, 4, test=2)
BATCHES = np.array([[0, 2], [1, 0], [2, 1], [0, 1], [2, 0]])
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
    return replace(plan, batches=np.arange(plan.batches.size).reshape(plan.batches.shape)).on_stream(
        Stream(X[visited], Y[visited])
    )


def posed(equations: FieldEquations, plan: Plan, count: int, replicate: int = 0) -> Problem:
    """Offline all points are observed, online those that are not trained on."""
    y, train = (Y, TRAIN) if plan.stream is None else (Y[~TRAIN], np.zeros(2, bool))
    noise = neurons.sample(equations.populations, equations.supplies, count, seed=3, replicate=replicate)
    drive = make_drive(plan, MEAN, y, train, save_every=2)
    return Problem(equations, jax.tree.map(jnp.asarray, noise), drive, two_time=True)


def both(depth: int) -> tuple[Chain, Chain]:
    """The same chain on all points, and carrying its weights."""
    wiring = Wiring(depth, 1, (1.3,) * (depth + 1), sigma_b=0.5, center=False)
    offline = make_chain(X, [activation("tanh")] * depth, 1.5, wiring)
    online = make_chain(X[~TRAIN], [activation("tanh")] * depth, 1.5, wiring).carrying(X[~TRAIN], 2)
    assert online is not None
    return offline, online


def at_test_points(values: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
    for axis, dim in enumerate(dims):
        if dim.startswith("point"):
            values = np.compress(~TRAIN, values, axis=axis)
    return values


DIMS = {
    "prediction": ("time", "point", "output"),
    "feature_kernel": ("time", "layer", "point", "point_prime"),
    "gradient_kernel": ("time", "layer", "point", "output", "point_prime", "output_prime"),
    "tangent_kernel": ("time", "point", "output", "point_prime", "output_prime"),
    "feature_kernel_two_time": ("layer", "time", "point", "time_prime", "point_prime"),
    "gradient_kernel_two_time": ("layer", "time", "point", "output", "time_prime", "point_prime", "output_prime"),
}


def test_repeated_points_are_offline_training_at_infinite_width() -> None:
    """Of neurons whose weights give the very preactivations of the other neurons; and so are derivatives in p."""
    offline, online = both(depth=1)
    assert isinstance(offline.inputs, InputWeights)
    problem, other = posed(offline, PLAN, 24), posed(online, fed(PLAN), 24)
    ((name, noise),) = problem.noise.items()
    rows = np.column_stack([X / 2.0, np.full(len(X), 0.5)]) * np.array([1.3, 1.3, 1.3, 1.3, 1.0])
    weights = np.linalg.lstsq(rows, np.asarray(offline.inputs.factor @ noise[1:]), rcond=None)[0]
    other = replace(other, noise={name: jnp.concatenate([noise[:1], weights])})
    p = jnp.asarray(np.random.default_rng(0).dirichlet(np.full(24, 5.0)))
    slope = jnp.asarray(np.random.default_rng(1).standard_normal(24))

    def seen(problem: Problem) -> tuple:
        return jax.jvp(lambda p: problem.observables({name: p}, {name: p}), (p,), (slope,))

    for expected, found in zip(seen(problem), seen(other), strict=True):
        assert set(found) == set(DIMS)
        for key, value in found.items():
            np.testing.assert_allclose(value, at_test_points(np.asarray(expected[key]), DIMS[key]), atol=1e-11)


def test_repeated_points_are_offline_training_of_deep_networks() -> None:
    """In law: means over independent samplings agree, between two times as well."""
    count, samplings = 256, 48
    means = []
    for equations, plan in zip(both(depth=2), (PLAN, fed(PLAN)), strict=True):
        roomy, passes = replace(equations, capacities=((60, 60),)), []
        for replicate in range(samplings):
            problem = posed(roomy, plan, count, replicate)
            seen = plain(problem, problem.equal_weights())
            assert not seen.bases.full.any()
            passes.append({name: np.asarray(value) for name, value in seen.seen.items()})
        means.append({name: np.stack([each[name] for each in passes]) for name in DIMS})
    for name, dims in DIMS.items():
        offline = at_test_points(means[0][name], ("sampling", *dims))
        found = [
            Estimate.of(values.mean(axis=0), values.std(axis=0, ddof=1) / samplings**0.5, samplings)
            for values in (means[1][name], offline)
        ]
        assert_zero(name, found[0] - found[1], float(np.max(np.abs(offline))))


def test_repeated_points_are_offline_training_of_a_network() -> None:
    spec, architecture = {"kind": "mlp", "activation": "tanh", "bias": 0.5}, registry().get("architecture", "mlp")
    settings = {"parameterization": MeanField(center=False), "loss": MEAN, "save_every": 2}
    offline = Case("offline", architecture, spec, X, Y, TRAIN, **settings)
    online = Case("online", architecture, spec, X[~TRAIN], Y[~TRAIN], np.zeros(2, bool), **settings)
    key = jax.random.key(0)[None]
    expected, found = (
        trainer(each.task(plan, kernels=False), 6)(key) for each, plan in ((offline, PLAN), (online, fed(PLAN)))
    )
    np.testing.assert_allclose(found["prediction"], expected["prediction"][:, :, ~TRAIN], atol=1e-12)
    np.testing.assert_allclose(found["loss"][0, :, 1], expected["loss"][0, :, 1], atol=1e-12)
    assert np.isnan(found["loss"][0, :, 0]).all()


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


def test_results_are_about_the_test_points(tmp_path: Path) -> None:
    loaded = fwdmft.load_experiment(settings(theory={"neurons": 64, "replicates": 2}))
    tree = fwdmft.run(loaded)
    data = tree["data"]
    assert data["split"].values.tolist() == ["test", "test"]
    assert (data.attrs["stream_points"], data.attrs["stream_points_per_step"]) == (20, 2)
    np.testing.assert_array_equal(data["x"], load_points(loaded).x[25:])
    for loss in (tree["theory/loss"], tree["theory/loss_at_width"], tree["ensemble/loss_mean"]):
        assert np.isfinite(loss.sel(split="test")).all() and np.isnan(loss.sel(split="train")).all()
    assert tree["theory/tangent_kernel_variance"].sizes["point"] == 2
    assert "tangent_kernel_alignment" not in tree["theory"] and "tangent_kernel_alignment" not in tree["ensemble"]
    assert {path.stem for path in fwdmft.plot(tree, tmp_path)} >= {"loss", "kernels", "variance", "predictions"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": online(steps=13)}, "data.train: got 25; expected at least 26 training points, 2 fresh ones at"),
        ({"optimizer": online(batch=None)}, "optimizer.batch: got nothing; expected batch: {size: B}"),
        ({"optimizer": online(batch={"size": 2, "seed": 1})}, "optimizer.batch.seed: got 1; expected no seed online"),
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
    wiring = Wiring(1, 1, (1.0, 1.0), center=False)
    chain = make_chain(X, [activation("tanh")], 1.0, wiring)
    assert chain.carrying(X, 1) is not None
    assert chain.carrying(2 * X, 1) is None
    assert chain.carrying(X[:, None, :, None], 1) is None
    assert make_chain(X, [activation("tanh")], 1.0, replace(wiring, center=True)).carrying(X, 1) is None
    with pytest.raises(TypeError, match="Chain cannot be shown other points"):
        chain.on(jnp.asarray(X))
