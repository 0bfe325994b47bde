"""Ensembles of finite networks: members, updates, kernels, precision, minibatches."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fwdmft
from fwdmft.experiment.loss import LossSpec, SoftmaxCrossEntropy, SquaredError
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks import ensemble
from fwdmft.networks.ensemble import WidthStatistics, member_bytes, train_ensemble
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.networks.training import Task, measure, split_losses, trainer
from fwdmft.optimization import Plan
from fwdmft.registry import registry
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import ROUNDING, Estimate, assert_zero
from fwdmft.testing.case import observed

WIDTH, RATE = 6, 0.3
SIGMA_B = 0.7
X, Y, _ = points(4, 3, outputs=2)
TRAIN = np.array([True, False, True, True])


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    with jax.enable_x64(True):
        yield


def case(**settings: Any) -> Case:
    spec = {"kind": "mlp", "activation": "tanh", "bias": SIGMA_B}
    return Case("tanh", registry().get("architecture", "mlp"), spec, X, Y, TRAIN, **settings)


def task(steps: int = 4, gamma0: float = 1.5, loss: LossSpec | None = None, kernels: bool = False) -> Task:
    made = case(parameterization=MeanField(gamma0=gamma0), loss=loss or SquaredError(), save_every=1)
    return made.task(Plan(np.full(steps, RATE)), kernels)


def members(count: int, seed: int = 0, samples: int = 64, width: int = WIDTH, kernels: bool = False) -> WidthStatistics:
    return train_ensemble(task(kernels=kernels), width, count, seed, samples)


@pytest.fixture(scope="module")
def ten() -> WidthStatistics:
    with jax.enable_x64(True):
        return members(10, kernels=True)


def test_chunks_make_no_difference(ten: WidthStatistics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "chunk_size", lambda *_: 4)
    chunked = members(10, samples=6, kernels=True)
    np.testing.assert_allclose(chunked.sample_prediction, ten.sample_prediction[:6], atol=ROUNDING)
    kernels = {"feature_kernel", "gradient_kernel", "tangent_kernel", "member_feature_alignment"}
    assert set(ten.mean) == {"prediction", "loss", "mean_square"} | kernels
    for statistics in ("mean", "variance", "mean_standard_error", "variance_standard_error"):
        for name, value in getattr(ten, statistics).items():
            np.testing.assert_allclose(getattr(chunked, statistics)[name], value, atol=ROUNDING, err_msg=name)


def test_statistics_are_those_of_the_members(ten: WidthStatistics) -> None:
    np.testing.assert_allclose(ten.mean["prediction"], ten.sample_prediction.mean(axis=0), atol=ROUNDING)
    np.testing.assert_allclose(ten.variance["prediction"], ten.sample_prediction.var(axis=0, ddof=1), atol=ROUNDING)
    assert (ten.members, ten.diverged, ten.width) == (10, 0, WIDTH)


def test_a_member_is_its_seed_width_and_number(ten: WidthStatistics) -> None:
    expected = ten.sample_prediction[:3]
    np.testing.assert_allclose(members(3).sample_prediction, expected, atol=ROUNDING)
    for other in (members(3, seed=1), members(3, width=WIDTH + 1)):
        assert not np.isclose(other.sample_prediction[:, 1:], expected[:, 1:]).any()


def test_widths_have_their_own_members() -> None:
    """Even networks that are built alike at any width."""
    alike = replace(task(), build=lambda width, key: task().build(WIDTH, key), center=False)
    first, other = (train_ensemble(alike, width, 3, 0, 3) for width in (WIDTH, WIDTH + 1))
    assert not np.isclose(first.sample_prediction[:, 0], other.sample_prediction[:, 0]).any()


def test_memory_bounds_the_members_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "MEMORY", (3 * ensemble.PIECES + 1) * member_bytes(task(), WIDTH))
    assert ensemble.chunk_size(task(), WIDTH, 100) == 3
    assert ensemble.chunk_size(task(), 1000 * WIDTH, 100) == 1
    assert ensemble.chunk_size(task(), WIDTH, ensemble.PIECES + 1) == 2


def diverging(share: float) -> Task:
    """About this share of the networks, chosen by their key, starts from infinite weights."""
    healthy = task()

    def build(width: int, key: jax.Array) -> Any:
        model = healthy.build(width, key)
        factor = jnp.where(jax.random.bernoulli(key, share), jnp.inf, 1.0)
        return eqx.tree_at(lambda m: m.w, model, factor * model.w)

    return replace(healthy, build=build)


def test_diverged_members_are_counted_and_left_out(ten: WidthStatistics) -> None:
    with pytest.warns(fwdmft.errors.FwdmftWarning, match=r"\d of 10 networks of width 6 diverged and are left out"):
        actual = train_ensemble(diverging(0.5), WIDTH, 10, 0, 64, diverged_share=0.7)
    healthy = [any(np.allclose(f, kept) for kept in actual.sample_prediction) for f in ten.sample_prediction]
    assert 0 < actual.diverged < 8 and actual.members == 10
    assert healthy.count(True) == len(actual.sample_prediction) == 10 - actual.diverged
    np.testing.assert_allclose(actual.mean["prediction"], ten.sample_prediction[healthy].mean(axis=0), atol=ROUNDING)
    np.testing.assert_allclose(actual.variance["prediction"], ten.sample_prediction[healthy].var(axis=0, ddof=1))


def test_divergence_of_more_than_the_stated_share_is_an_error() -> None:
    words = r"diverged; expected at most a share of 0.1 \(ensemble.diverged_share\)"
    with pytest.raises(fwdmft.ComputationError, match=words):
        train_ensemble(diverging(0.5), WIDTH, 10, 0, 0, diverged_share=0.1)
    with pytest.raises(fwdmft.ComputationError, match="1 of the first 1 networks of width 6 diverged"):
        train_ensemble(diverging(1.0), WIDTH, 4, 0, 0, diverged_share=0.1)


def test_of_networks_that_diverge_two_must_remain() -> None:
    with pytest.raises(fwdmft.ComputationError, match="3 of the first 3 networks .* and two that do not"):
        train_ensemble(diverging(1.0), WIDTH, 4, 0, 0, diverged_share=1.0)


class ByHand:
    """A two-layer tanh network trained by written-out backpropagation in numpy, as torch.optim.SGD would update it."""

    def __init__(self, model: Any, gamma0: float):
        self.parameters = {name: np.array(getattr(model, name)) for name in ("W", "w", "b")}
        self.velocity = {name: np.zeros_like(a) for name, a in self.parameters.items()}
        self.gamma0 = gamma0
        self.origin = self.forward(X)

    def forward(self, x: np.ndarray) -> np.ndarray:
        W, w, b = self.parameters.values()
        return np.tanh(x @ W.T / x.shape[1] ** 0.5 + SIGMA_B * b) @ w.T / (self.gamma0 * WIDTH)

    @property
    def prediction(self) -> np.ndarray:
        return self.forward(X) - self.origin

    def gradients(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Of half the squared error summed over the chosen points."""
        W, w, b = self.parameters.values()
        x, error = X[chosen], (self.prediction - Y)[chosen]
        phi = np.tanh(x @ W.T / x.shape[1] ** 0.5 + SIGMA_B * b)
        back = (error @ w) * (1 - phi**2) / (self.gamma0 * WIDTH)
        return {
            "W": back.T @ x / x.shape[1] ** 0.5,
            "w": error.T @ phi / (self.gamma0 * WIDTH),
            "b": SIGMA_B * back.sum(axis=0),
        }

    def step(self, rate: float, momentum: float, weight_decay: float, chosen: np.ndarray) -> None:
        for name, gradient in self.gradients(chosen).items():
            total = self.gamma0**2 * WIDTH * gradient + weight_decay * self.parameters[name]
            self.velocity[name] = momentum * self.velocity[name] + total
            self.parameters[name] = self.parameters[name] - rate * self.velocity[name]


BATCHES = np.array([[0, 2], [1, 0], [2, 1], [0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "batches"),
    [(0.0, 0.0, None), (0.9, 0.0, BATCHES), (0.0, 0.2, BATCHES), (0.6, 0.1, None)],
)
def test_updates_by_hand(momentum: float, weight_decay: float, batches: np.ndarray | None) -> None:
    gamma0, rates = 1.5, RATE * np.array([1.0, 0.5, 2.0, 0.0, 1.0])
    plan = Plan(rates, batches, momentum, weight_decay)
    described = replace(task(gamma0=gamma0), plan=plan)
    key = jax.random.key(3)
    seen = trainer(described, WIDTH)(key[None])["prediction"][0]
    network = ByHand(described.build(WIDTH, key), gamma0)
    for step, rate in enumerate(rates):
        np.testing.assert_allclose(seen[step], network.prediction, atol=ROUNDING, err_msg=f"step {step}")
        chosen = np.flatnonzero(TRAIN) if batches is None else np.flatnonzero(TRAIN)[batches[step]]
        network.step(rate, momentum, weight_decay, chosen)


def test_save_every_keeps_a_part_of_every_step() -> None:
    key = jax.random.key(0)[None]
    each = trainer(task(steps=9), WIDTH)(key)
    some = trainer(replace(task(steps=9), save_every=3), WIDTH)(key)
    for name, value in each.items():
        np.testing.assert_allclose(some[name], value[:, [0, 3, 6, 8]], atol=ROUNDING, err_msg=name)


def test_shorter_runs_begin_longer_ones() -> None:
    plan = Plan(RATE * np.linspace(1, 2, 5), BATCHES, momentum=0.5)
    shorter = replace(plan, learning_rates=plan.learning_rates[:3], batches=BATCHES[:3])
    begun, whole = (trainer(replace(task(), plan=each), WIDTH)(jax.random.key(0)[None]) for each in (shorter, plan))
    np.testing.assert_allclose(begun["prediction"], whole["prediction"][:, :3], atol=ROUNDING)


def kernels_of(gamma0: float) -> tuple[Any, dict[str, np.ndarray]]:
    model = task(gamma0=gamma0).build(WIDTH, jax.random.key(5))
    return model, {name: np.asarray(a) for name, a in empirical_kernels(model, jnp.asarray(X), gamma0, WIDTH).items()}


def test_kernels_by_hand() -> None:
    """Phi = phi.phi / N, G = g.g / N with g_c = w_c phi', and K = Phi delta_cc' + G Phi^0 from the Jacobian."""
    model, actual = kernels_of(gamma0=1.5)
    W, w, b = (np.asarray(a) for a in (model.W, model.w, model.b))
    phi = np.tanh(X @ W.T / X.shape[1] ** 0.5 + SIGMA_B * b)
    g = w * (1 - phi**2)[:, None]
    feature, gradient = phi @ phi.T / WIDTH, np.einsum("pci,qdi->pcqd", g, g) / WIDTH
    inputs = X @ X.T / X.shape[1] + SIGMA_B**2
    tangent = np.einsum("pq,cd->pcqd", feature, np.eye(2)) + gradient * inputs[:, None, :, None]
    np.testing.assert_allclose(actual["feature_kernel"], feature[None], atol=ROUNDING)
    np.testing.assert_allclose(actual["gradient_kernel"], gradient[None], atol=ROUNDING)
    np.testing.assert_allclose(actual["tangent_kernel"], tangent, atol=ROUNDING)


def test_widths_whose_square_is_no_integer_of_32_bits() -> None:
    width = 1 << 17
    with jax.enable_x64(False):
        model = task().build(width, jax.random.key(0))
        kernels = empirical_kernels(model, jnp.asarray(X, jnp.float32), 1.5, width)
    np.testing.assert_allclose(kernels["gradient_kernel"][0, 0, 0, 0, 0], np.mean(_slopes(model) ** 2), rtol=1e-5)


def _slopes(model: Any) -> np.ndarray:
    """w phi' of the first output at the first point."""
    W, w, b = (np.asarray(a, np.float64) for a in (model.W, model.w, model.b))
    return w[0] * (1 - np.tanh(W @ X[0] / X.shape[1] ** 0.5 + SIGMA_B * b) ** 2)


def test_kernels_do_not_depend_on_gamma0() -> None:
    for name, value in kernels_of(gamma0=1.5)[1].items():
        np.testing.assert_allclose(kernels_of(gamma0=0.2)[1][name], value, atol=ROUNDING)


def residuals_at_zero(loss: LossSpec, y: np.ndarray) -> np.ndarray:
    """Delta of the training points at f = 0, by hand; zero at the others."""
    slopes = {"squared_error": y, "softmax_cross_entropy": y - 1 / y.shape[1]}[loss.kind]
    return np.where(TRAIN[:, None], slopes, 0.0) / (TRAIN.sum() if loss.reduction == "mean" else 1)


@pytest.mark.parametrize("loss", [SquaredError(reduction="mean"), SoftmaxCrossEntropy()], ids=lambda loss: loss.kind)
def test_tangent_kernel_drives_the_predictions(loss: LossSpec) -> None:
    """f(1) - f(0) = eta K Delta up to order eta^2."""
    y = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    described = replace(task(loss=loss), y=y)
    key, rates = jax.random.key(5), (1e-2, 1e-3)
    pull = np.tensordot(kernels_of(gamma0=1.5)[1]["tangent_kernel"], residuals_at_zero(loss, y), axes=2)
    errors = []
    for rate in rates:
        seen = trainer(replace(described, plan=Plan(np.full(2, rate))), WIDTH)(key[None])["prediction"][0]
        errors.append(np.linalg.norm(seen[1] / rate - pull))
    assert errors[0] < np.linalg.norm(pull) and round(np.log10(errors[0] / errors[1])) == 1


def test_losses_of_training_and_test_points() -> None:
    described = task()
    model = described.build(WIDTH, jax.random.key(0))
    f = np.asarray(jax.vmap(model)(jnp.asarray(X)))
    seen = measure(described, WIDTH, model, jnp.asarray(X), jnp.asarray(described.y), jnp.asarray(f))
    expected = [((f - Y)[chosen] ** 2).sum() / 2 for chosen in (TRAIN, ~TRAIN)]
    np.testing.assert_allclose(seen["loss"], expected, rtol=ROUNDING)
    without_test = split_losses(SquaredError(), jnp.asarray(f), Y, np.ones(4, bool))
    assert np.isfinite(without_test[0]) and np.isnan(without_test[1])


def test_minibatches_come_in_the_same_order_in_theory_and_networks() -> None:
    """Wide, nearly lazy networks follow the theory of their batches within errors, and not that of other batches."""
    batches = np.array([[0], [0], [1], [0], [2], [2], [1]])
    nearly_lazy = case(parameterization=MeanField(gamma0=0.1), save_every=1)
    plan = Plan(np.full(7, RATE), batches)
    wide = train_ensemble(nearly_lazy.task(plan, kernels=False), 4096, 16, 0, samples=0)
    networks = Estimate.of(wide.mean["prediction"], wide.mean_standard_error["prediction"], 16)

    def difference(plan: Plan) -> Estimate:
        limit = observed(nearly_lazy.simulation(1 << 14, plan=plan))["prediction"]
        return networks + Estimate(-limit, (), ())

    assert_zero("prediction", difference(plan), 1.0)
    with pytest.raises(AssertionError):
        assert_zero("prediction", difference(replace(plan, batches=batches[::-1])), 1.0)


def test_trained_arrays_are_the_inexact_ones() -> None:
    """Whatever else a network holds stays as it is."""
    model = task().build(WIDTH, jax.random.key(0))
    assert len(jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))) == 3
