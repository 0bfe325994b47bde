"""Online learning against a closed recursion for linear networks, and against trained networks."""

from dataclasses import dataclass, replace
from functools import cached_property

import jax
import numpy as np
import pytest
import xarray as xr

import fwdmft
from fwdmft.datasets.loading import load_points
from fwdmft.meanfield.field_equations import FieldEquations
from fwdmft.optimization import Plan, Stream
from fwdmft.registry import registry
from fwdmft.spec.optimizer import GradientDescent
from fwdmft.spec.parameterization import MeanField
from fwdmft.spec.schedule import Minibatches
from fwdmft.testing import Case, Law, dynamics, equations, statistics
from fwdmft.testing.agreement import Estimate, assert_zero

GAMMA0, RATE, DECAY, STEPS, SIZE, FEATURES, REPLICATES = 1.5, 0.3, 0.1, 7, 2, 3, 8

LINEAR = {
    "name": "linear",
    "architecture": {"kind": "mlp", "activation": "linear"},
    "parameterization": {"kind": "mean_field", "gamma0": GAMMA0, "center": False},
    "optimizer": {
        "kind": "gradient_descent",
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "steps": STEPS,
        "data": "online",
        "batch": {"size": SIZE},
    },
    "loss": {"kind": "squared_error", "reduction": "mean"},
    "data": {"kind": "sphere", "features": FEATURES, "train": STEPS * SIZE, "test": 2, "noise": 0.3},
    "theory": {"neurons": 4096, "replicates": REPLICATES, "save_every": 3},
}
UPPER = np.triu_indices(FEATURES)


def recursion(start: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Linear networks of any width on a stream, whose weights enter only through A = <w W>, B = <W W^T>, C = <w w>.

    With v = eta gamma0 sum_mu Delta_mu x_mu / sqrt(D) and k = 1 - eta lambda, a step is W <- k W + w v, w <- k w + W.v.
    f(x) = A.x / (sqrt(D) gamma0), and K(x, x') = (x.B x' + C x.x') / D. start: entries of A, of B's upper triangle, C.
    """
    A, B, C = start[:FEATURES], np.zeros((FEATURES, FEATURES)), start[-1]
    B[UPPER] = start[FEATURES:-1]
    B = B + B.T - np.diag(np.diag(B))
    test, k, f, K = x[STEPS * SIZE :], 1 - RATE * DECAY, [], []
    for batch, targets in zip(np.split(x[: STEPS * SIZE], STEPS), np.split(y[: STEPS * SIZE, 0], STEPS), strict=True):
        f.append(test @ A / (FEATURES**0.5 * GAMMA0))
        K.append((test @ B @ test.T + C * test @ test.T) / FEATURES)
        delta = (targets - batch @ A / (FEATURES**0.5 * GAMMA0)) / SIZE
        v = RATE * GAMMA0 * delta @ batch / FEATURES**0.5
        A, B, C = (
            k**2 * A + k * C * v + k * B @ v + (A @ v) * v,
            k**2 * B + k * (np.outer(A, v) + np.outer(v, A)) + C * np.outer(v, v),
            k**2 * C + 2 * k * A @ v + v @ B @ v,
        )
    return {"prediction": np.stack(f)[::3, :, None], "tangent_kernel": np.stack(K)[::3, :, None, :, None]}


def test_linear_networks_on_a_stream() -> None:
    """Infinite width is the recursion from A = 0, B = 1, C = 1; Sigma and b are its derivatives there.

    At width N entries of A, B and C are uncorrelated, with N Var = 1, 1 (2 on the diagonal) and 2.
    """
    loaded = fwdmft.load_experiment(LINEAR)
    data, theory = load_points(loaded), fwdmft.run(loaded)["theory"].to_dataset()
    diagonal = np.asarray(UPPER[0] == UPPER[1], float)
    start = np.concatenate([np.zeros(FEATURES), diagonal, [1.0]])
    variance = np.concatenate([np.ones(FEATURES), 1 + diagonal, [2.0]])
    moves = [1e-3 * direction for direction in np.eye(len(start))]
    exact, above, below = recursion(start, data.x, data.y), [], []
    for move in moves:
        above.append(recursion(start + move, data.x, data.y))
        below.append(recursion(start - move, data.x, data.y))
    for name, q in exact.items():
        up, down = (np.stack([each[name] for each in side], axis=-1) for side in (above, below))
        compare(theory, name, q)
        compare(theory, f"{name}_variance", ((up - down) / 2e-3) ** 2 @ variance)
        compare(theory, f"{name}_bias", (up + down - 2 * q[..., None]) / 1e-6 @ variance / 2)


def compare(theory: xr.Dataset, name: str, expected: np.ndarray) -> None:
    found = Estimate.of(theory[name].values, theory[f"{name}_standard_error"].values, REPLICATES)
    assert_zero(name, found + Estimate(-expected, (), ()), float(np.max(np.abs(expected))))


@dataclass(frozen=True, eq=False)
class OnlineCase(Case):
    """A case whose points are all observed and which is trained on others."""

    stream: Stream | None = None

    @cached_property
    def plan(self) -> Plan:
        assert self.stream is not None
        return self.optimizer.plan(len(self.stream.x)).on_stream(self.stream)

    @cached_property
    def _equations(self) -> FieldEquations:
        fixed = self.architecture.field_equations(self.schema, self.parameterization, self.x, self.y.shape[1])
        carrying = fixed.carrying(self.x, self.plan.fresh)
        assert carrying is not None
        return carrying


def tanh_case() -> OnlineCase:
    """A tanh network that learns a single-index teacher."""
    data = {
        "kind": "sphere",
        "features": 4,
        "train": 14,
        "test": 2,
        "teacher": {"kind": "single_index", "link": "tanh"},
    }
    points = load_points(fwdmft.load_experiment({**LINEAR, "data": data}))
    test = ~points.train
    return OnlineCase(
        "online",
        registry().get("architecture", "mlp"),
        {"kind": "mlp", "activation": "tanh", "bias": 0.3},
        points.x[test],
        points.y[test],
        np.zeros(2, bool),
        parameterization=MeanField(center=False),
        optimizer=GradientDescent(learning_rate=0.4, steps=7, data="online", batch=Minibatches(size=2)),
        save_every=3,
        neurons=1 << 12,
        widths=(32, 96),
        members=(4000, 4000),
        stream=Stream(points.x[points.train], points.y[points.train]),
    )


CASE = tanh_case()
CHECKED = [
    *statistics.LAWS,
    *map(Law, (equations.splitting_a_neuron_changes_nothing, dynamics.a_shorter_run_is_the_beginning_of_a_longer_one)),
]


@pytest.mark.parametrize("law", CHECKED, ids=str)
def test_laws(law: Law) -> None:
    law(CASE)


def test_networks_feel_the_order_of_the_stream() -> None:
    """The same points the other way round give other networks, which the theory of the first order is not about."""
    assert CASE.stream is not None
    turned = replace(CASE, stream=Stream(CASE.stream.x[::-1], CASE.stream.y[::-1]), members=(64, 2000))
    with jax.enable_x64(True):
        ensemble = turned.ensembles[1]
    expected = CASE.theory.mean["prediction"] + CASE.theory.bias["prediction"] / ensemble.width
    errors = ensemble.mean_standard_error["prediction"]
    assert np.max(np.abs(ensemble.mean["prediction"] - expected)[1:] / errors[1:]) > 8
