"""Members trained per second: an ensemble of fwdmft against a hand-vectorised loop of the same networks in JAX.

    python benchmarks/ensemble_throughput.py [--architecture mlp|deep|cnn] [--width N] ...

The loop is what one would write for a single purpose: weights of all members in one array each, one matrix product
for all of them, `jax.grad` and a `lax.scan` over the steps, loss at every `save_every` steps; no predictions, no
statistics. The `cnn` loop gathers the shifted images and multiplies them by the weights of all members at once: on
processors, `jax.lax.conv_general_dilated` under `vmap` is an order of magnitude slower. Both go through the members
in chunks, and are timed from the end of the first chunk on, which leaves out compilation. The mean final
losses of both are printed too; they agree within their errors if the two train alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft.experiment.loss import SquaredError
from fwdmft.experiment.optimizer import GradientDescent
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.ensemble import train_ensemble
from fwdmft.networks.training import Task
from fwdmft.optimization import Plan
from fwdmft.registry import registry

Weights = list[jax.Array]


def dense(features: int, outputs: int, width: int, depth: int) -> tuple[Callable[..., Weights], Callable[..., Any]]:
    """(draw, predict) of tanh networks; weights (member, in, out), predictions (member, point, output)."""
    sizes = [features, *[width] * depth, outputs]

    def draw(key: jax.Array, members: int) -> Weights:
        shapes = [(members, a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        return [jax.random.normal(k, s) for k, s in zip(jax.random.split(key, depth + 1), shapes, strict=True)]

    def predict(weights: Weights, x: jax.Array) -> jax.Array:
        v = jnp.broadcast_to(x, (len(weights[0]), *x.shape))
        for W in weights[:-1]:
            v = jnp.tanh(v @ W / W.shape[1] ** 0.5)
        return v @ weights[-1] / width

    return draw, predict


def convolutional(
    channels: int, outputs: int, width: int, depth: int
) -> tuple[Callable[..., Weights], Callable[..., Any]]:
    """The same for 3 x 3 convolutions (circular padding), average over positions, readout."""
    sizes = [channels, *[width] * depth]

    def draw(key: jax.Array, members: int) -> Weights:
        shapes = [(members, 9 * a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        keys = jax.random.split(key, depth + 1)
        return [jax.random.normal(k, s) for k, s in zip(keys, [*shapes, (members, width, outputs)], strict=True)]

    def neighbours(v: jax.Array) -> jax.Array:
        """(member, point, row, column, channel) -> (member, point, row, column, 9 channel)."""
        offsets = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        return jnp.concatenate([jnp.roll(v, offset, axis=(2, 3)) for offset in offsets], axis=-1)

    def predict(weights: Weights, x: jax.Array) -> jax.Array:
        v = jnp.broadcast_to(x, (len(weights[0]), *x.shape))
        for W in weights[:-1]:
            seen = neighbours(v)
            h = seen.reshape(len(W), -1, W.shape[1]) @ W / W.shape[1] ** 0.5
            v = jnp.tanh(h).reshape(*seen.shape[:-1], W.shape[2])
        return v.mean(axis=(2, 3)) @ weights[-1] / width

    return draw, predict


def by_hand(
    a: argparse.Namespace, x: np.ndarray, y: np.ndarray, plan: Plan, report: Callable[[int], None]
) -> np.ndarray:
    """Train `a.members` networks and return their final losses (member,)."""
    make = convolutional if a.architecture == "cnn" else dense
    draw, predict = make(x.shape[-1], y.shape[1], a.width, 1 if a.architecture == "mlp" else a.depth)
    inputs, targets = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    chosen = jnp.asarray(plan.batches if plan.batches is not None else np.tile(np.arange(len(x)), (plan.steps, 1)))

    @jax.jit
    def train(key: jax.Array) -> jax.Array:
        weights = draw(key, a.chunk)
        start = predict(weights, inputs)

        def losses(weights: Weights, batch: Any) -> jax.Array:
            f = predict(weights, inputs[batch]) - start[:, batch]
            return 0.5 * jnp.sum((f - targets[batch]) ** 2, axis=(1, 2))

        def step(weights: Weights, batch: jax.Array) -> tuple[Weights, None]:
            gradient = jax.grad(lambda w: jnp.sum(losses(w, batch)))(weights)
            return [W - a.learning_rate * a.width * g for W, g in zip(weights, gradient, strict=True)], None

        def interval(weights: Weights, batches: jax.Array) -> tuple[Weights, jax.Array]:
            seen = losses(weights, jnp.arange(len(x)))
            return jax.lax.scan(step, weights, batches)[0], seen

        whole = (plan.steps - 1) // a.save_every * a.save_every
        weights, _ = jax.lax.scan(interval, weights, chosen[:whole].reshape(-1, a.save_every, chosen.shape[1]))
        weights, _ = jax.lax.scan(step, weights, chosen[whole:-1])
        return losses(weights, jnp.arange(len(x)))

    collected = []
    for done in range(0, a.members, a.chunk):
        collected.append(np.asarray(train(jax.random.key(done))))
        report(done + a.chunk)
    return np.concatenate(collected)


def with_fwdmft(
    a: argparse.Namespace, x: np.ndarray, y: np.ndarray, plan: Plan, report: Callable[[int], None]
) -> np.ndarray:
    """The same through fwdmft's ensemble of the registered architecture, without kernels."""
    architecture = registry().get("architecture", a.architecture)
    settings: dict[str, Any] = {"kind": a.architecture, "activation": "tanh"}
    if a.architecture != "mlp":
        settings["depth"] = a.depth
    if a.architecture == "cnn":
        settings |= {"padding": "circular", "readout": "global_average"}
    spec, parameterization = architecture.spec.model_validate(settings), MeanField()
    task = Task(
        build=lambda width, key: architecture.model(spec, parameterization, x, y.shape[1], width, key),
        gamma0=parameterization.richness,
        x=x,
        y=y,
        train=np.ones(len(x), bool),
        loss=SquaredError(),
        plan=plan,
        save_every=a.save_every,
        center=True,
        kernels=False,
        dtype=np.dtype("float32"),
    )

    return train_ensemble(task, a.width, a.members, 0, 0, report).traces["loss"][:, -1, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--architecture", choices=("mlp", "deep", "cnn"), default="deep")
    parser.add_argument("--depth", type=int, default=2, help="hidden layers of deep and cnn")
    parser.add_argument("--width", type=int, default=128, help="N (channels of a cnn)")
    parser.add_argument("--members", type=int, default=512, help="a multiple of chunk")
    parser.add_argument("--chunk", type=int, default=64, help="members at once in the loop; fwdmft chooses its own")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--side", type=int, default=8, help="inputs have side^2 features, or side x side pixels")
    parser.add_argument("--batch", type=int, default=16, help="points per step; 0: all")
    parser.add_argument("--steps", type=int, default=401)
    parser.add_argument("--save-every", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    a = parser.parse_args()

    random = np.random.default_rng(0)
    x = random.standard_normal((a.points, a.side, a.side, 1) if a.architecture == "cnn" else (a.points, a.side**2))
    y = random.choice([-1.0, 1.0], (a.points, 1))
    batch = {"size": a.batch} if a.batch else None
    optimizer = {"kind": "gradient_descent", "learning_rate": a.learning_rate, "steps": a.steps, "batch": batch}
    plan = GradientDescent.model_validate(optimizer).plan(a.points)
    rates = {}
    for name, train in (("by hand", by_hand), ("fwdmft", with_fwdmft)):
        marks: list[tuple[int, float]] = []
        losses = train(a, x, y, plan, lambda done, marks=marks: marks.append((done, time.perf_counter())))
        (first, start), (last, end) = marks[0], marks[-1]
        rates[name] = (last - first) / (end - start)
        error = losses.std(ddof=1) / len(losses) ** 0.5
        print(
            f"{name:8}{rates[name]:9.2f} members per second; final loss {losses.mean():.4g} +- {error:.2g}", flush=True
        )
    print(f"fwdmft trains {rates['fwdmft'] / rates['by hand']:.2f} times as many members per second as the loop")


if __name__ == "__main__":
    main()
