"""Tiny networks by hand, as fast as JAX trains them on a processor: the rival of the theory in `efficiency.py`.

Explicit weights, forward and backward passes written out, no automatic differentiation (`check` compares them with it),
float32; random numbers come from a hashed counter. Weights carry their factors 1/sqrt(N) from the start. Networks are
trained in blocks that stay in cache, and blocks one after the other within one program. f and the diagonal of K are
measured at the kept times alone. What was tried for dense layers, and lost: other orders of axes (members last, of 16),
outer products as matrix products, a second, transposed copy of each matrix, numpy's and JAX's generators.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Weights = tuple[jax.Array, ...]


class Problem(NamedTuple):
    """tanh networks: x (point, feature) or images (point, row, column, channel), y (point,), the first `train` of which
    are trained on; f and K are kept at `times`, the last of which ends training. depth: hidden layers."""

    kind: str
    depth: int
    x: np.ndarray
    y: np.ndarray
    train: int
    rate: float
    gamma0: float
    times: tuple[int, ...]


class Networks(NamedTuple):
    """What is particular to an architecture: draw(seed, width, block), and at given weights
    fields(weights) -> (f, what the backward pass reads), step(weights, fields, delta) -> weights with
    delta = rate gamma0 (y - f), kernel(weights, fields) -> diagonal of K; f, K: (member, point).
    metric(gradients) -> how far weights move along them, for `check`. block: members side by side, by width.
    members_last: f and K are (point, member)."""

    draw: Callable[..., Weights]
    fields: Callable[..., tuple[jax.Array, Any]]
    step: Callable[..., Weights]
    kernel: Callable[..., jax.Array]
    metric: Callable[[Weights], Weights]
    block: Callable[[int], int]
    members_last: bool = False


# --- flops ---


def sizes(p: Problem) -> tuple[int, int]:
    """Positions, and taps of a kernel."""
    return (p.x[0].size, 9) if p.kind == "cnn" else (1, 1)


def local_flops(p: Problem) -> float:
    """Of one neuron and layer in one step: tanh counts as ten."""
    return sizes(p)[0] * (12 * len(p.x) + p.train * (6 + 2 * len(p.x)))


def network_flops(p: Problem, width: int) -> float:
    """Of one network: forward for all points, backward and weights' gradient for those trained on."""
    places, stencil = sizes(p)
    matrix = 2 * width**2 * places * stencil * (len(p.x) + 2 * p.train)
    return p.times[-1] * (p.depth * width * local_flops(p) + (p.depth - 1) * matrix)


# --- random numbers ---


def _mixed(bits: jax.Array) -> jax.Array:
    """The finalizer of MurmurHash3, of 32-bit integers."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def normal(seed: jax.Array, *shape: int) -> jax.Array:
    """Independent N(0, 1), by inversion: a quarter of the time of `jax.random.normal`."""
    counter = jax.lax.iota(jnp.uint32, int(np.prod(shape)))
    bits = _mixed(_mixed(counter * jnp.uint32(0x9E3779B9) + seed) ^ seed)
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * np.float32(2.0**-22) - 1
    return np.float32(2**0.5) * jax.lax.erf_inv(uniform).reshape(shape)


def _seeds(seed: jax.Array, count: int) -> list[jax.Array]:
    return [_mixed(seed * jnp.uint32(count) + jnp.uint32(i)) for i in range(count)]


# --- fully connected ---


def _dense(p: Problem) -> Networks:
    """Preactivations h1 (member, point, N) in place of input weights, matrices (member, N, N), readout (member, N)."""
    gram = p.x @ p.x.T / p.x.shape[1]
    root, gram = np.linalg.cholesky(gram).astype(np.float32), gram.astype(np.float32)
    trained = slice(p.train)

    def draw(seed: jax.Array, width: int, block: int) -> Weights:
        first, last, *rest = _seeds(seed, p.depth + 1)
        h = jnp.einsum("pq,bqi->bpi", root, normal(first, block, len(p.x), width))
        return (h, *(normal(s, block, width, width) * width**-0.5 for s in rest), normal(last, block, width))

    def fields(weights: Weights) -> tuple[jax.Array, list[jax.Array]]:
        us = [jnp.tanh(weights[0])]
        for matrix in weights[1:-1]:
            us.append(jnp.tanh(jnp.einsum("bpj,bij->bpi", us[-1], matrix)))
        return jnp.einsum("bpi,bi->bp", us[-1], weights[-1]) / (p.gamma0 * us[0].shape[2]), us

    def slopes(weights: Weights, us: list[jax.Array], factor: Any) -> list[jax.Array]:
        """factor gamma0 N df/dh of all layers, from the first."""
        gs = [factor * weights[-1][:, None] * (1 - us[-1] ** 2)]
        for matrix, u in zip(weights[-2:0:-1], us[-2::-1], strict=True):
            gs.append(jnp.einsum("bpi,bij->bpj", gs[-1], matrix) * (1 - u**2))
        return gs[::-1]

    def step(weights: Weights, us: list[jax.Array], delta: jax.Array) -> Weights:
        us = [u[:, trained] for u in us]
        gs = slopes(weights, us, delta[:, :, None])
        points = range(p.train)
        first = weights[0] + sum(gram[:, i, None] * gs[0][:, i, None] for i in points)
        matrices = [
            matrix + sum((g[:, i] / u.shape[2])[:, :, None] * u[:, i, None] for i in points)
            for matrix, g, u in zip(weights[1:-1], gs[1:], us[:-1], strict=True)
        ]
        return first, *matrices, weights[-1] + jnp.sum(delta[:, :, None] * us[-1], axis=1)

    def kernel(weights: Weights, us: list[jax.Array]) -> jax.Array:
        gs = slopes(weights, us, 1.0)
        below = [np.diag(gram), *(jnp.mean(u**2, axis=2) for u in us)]
        above = [*(jnp.mean(g**2, axis=2) for g in gs), 1.0]
        return sum((a * b for a, b in zip(above, below, strict=True)), jnp.zeros(()))

    def metric(gradients: Weights) -> Weights:
        first, *matrices, last = gradients
        return jnp.einsum("pq,bqi->bpi", gram, first), *(m / last.shape[1] for m in matrices), last

    return Networks(draw, fields, step, kernel, metric, lambda width: max(4, min(64, 16384 // width**2)))


def _two_layers(p: Problem) -> Networks:
    """Preactivations h (point, N, member), readout (N, member): with no matrices, members are best last."""
    gram = p.x @ p.x.T / p.x.shape[1]
    root, gram = np.linalg.cholesky(gram).astype(np.float32), gram.astype(np.float32)

    def draw(seed: jax.Array, width: int, block: int) -> Weights:
        first, last = _seeds(seed, 2)
        h = jnp.einsum("pq,qib->pib", root, normal(first, len(p.x), width, block))
        return h, normal(last, width, block)

    def fields(weights: Weights) -> tuple[jax.Array, jax.Array]:
        u = jnp.tanh(weights[0])
        return jnp.sum(u * weights[1], axis=1) / (p.gamma0 * u.shape[1]), u

    def step(weights: Weights, u: jax.Array, delta: jax.Array) -> Weights:
        points = range(p.train)
        g = [delta[i] * weights[1] * (1 - u[i] ** 2) for i in points]
        h = weights[0] + sum(gram[:, i, None, None] * g[i] for i in points)
        return h, weights[1] + sum(delta[i] * u[i] for i in points)

    def kernel(weights: Weights, u: jax.Array) -> jax.Array:
        slopes = jnp.mean((weights[1] * (1 - u**2)) ** 2, axis=1)
        return slopes * np.diag(gram)[:, None] + jnp.mean(u**2, axis=1)

    def metric(gradients: Weights) -> Weights:
        return jnp.einsum("pq,qib->pib", gram, gradients[0]), gradients[1]

    return Networks(draw, fields, step, kernel, metric, lambda width: min(64, max(16, 256 // width)), members_last=True)


# --- convolutional ---


def _convolutional(p: Problem) -> Networks:
    """Two 3 x 3 convolutions, circular, global average: (member, 9, N), (member, N, 9 N), readout (member, N)."""
    rows, columns, channels = p.x.shape[1:]
    assert p.depth == 2 and channels == 1
    places, n_k, count = rows * columns, 9, len(p.x)
    grid = np.arange(places).reshape(rows, columns)
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    reads = np.stack([np.roll(grid, (-i, -j), (0, 1)).ravel() for i, j in shifts], axis=1)
    images = p.x.reshape(count, places).astype(np.float32)[:, reads].reshape(count * places, n_k)
    trained = slice(p.train * places)
    of_images = np.einsum("pak,pck->pac", *[images.reshape(count, places, n_k)] * 2) / n_k

    def patches(u: jax.Array) -> jax.Array:
        """(member, point place, N) -> (member, point place, 9 N)."""
        grid = u.reshape(len(u), -1, rows, columns, u.shape[2])
        rolled = [jnp.roll(grid, (-i, -j), (2, 3)) for i, j in shifts]
        return jnp.concatenate(rolled, axis=4).reshape(len(u), -1, n_k * u.shape[2])

    def draw(seed: jax.Array, width: int, block: int) -> Weights:
        first, second, last = _seeds(seed, 3)
        hidden = normal(second, block, width, n_k * width) * (n_k * width) ** -0.5
        return normal(first, block, n_k, width) * n_k**-0.5, hidden, normal(last, block, width)

    def fields(weights: Weights) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        first, second, readout = weights
        u1 = jnp.tanh(jnp.einsum("pk,bki->bpi", images, first))
        read = patches(u1)
        u2 = jnp.tanh(jnp.einsum("bpk,bik->bpi", read, second))
        mean = jnp.mean(u2.reshape(len(u2), count, places, -1), axis=2)
        return jnp.einsum("bpi,bi->bp", mean, readout) / (p.gamma0 * mean.shape[2]), (u1, read, u2, mean)

    def slopes(weights: Weights, u1: jax.Array, u2: jax.Array, factor: Any) -> tuple[jax.Array, jax.Array]:
        """factor gamma0 N df/dh of both layers."""
        _, second, readout = weights
        g2 = factor * readout[:, None] / places * (1 - u2**2)
        width = u1.shape[2]
        back = jnp.einsum("bpi,bik->bpk", g2, second).reshape(len(u1), -1, rows, columns, n_k, width)
        arriving = sum(jnp.roll(back[:, :, :, :, k], shift, (2, 3)) for k, shift in enumerate(shifts))
        return arriving.reshape(u1.shape) * (1 - u1**2), g2

    def step(weights: Weights, kept: tuple[jax.Array, ...], delta: jax.Array) -> Weights:
        first, second, readout = weights
        u1, read, u2, mean = kept
        each = jnp.repeat(delta, places, axis=1)[:, :, None]
        g1, g2 = slopes(weights, u1[:, trained], u2[:, trained], each)
        second = second + jnp.einsum("bpi,bpk->bik", g2 / (n_k * u1.shape[2]), read[:, trained])
        first = first + jnp.einsum("pk,bpi->bki", images[trained], g1 / n_k)
        return first, second, readout + jnp.einsum("bpi,bp->bi", mean[:, : p.train], delta)

    def kernel(weights: Weights, kept: tuple[jax.Array, ...]) -> jax.Array:
        u1, read, u2, mean = kept
        width = u1.shape[2]
        g1, g2, read = (v.reshape(len(v), count, places, -1) for v in (*slopes(weights, u1, u2, 1.0), read))
        of_g1, of_g2, of_read = (jnp.einsum("bpai,bpci->bpac", v, v) for v in (g1, g2, read))
        hidden = jnp.sum(of_g2 * of_read, axis=(2, 3)) / (n_k * width**2)
        return jnp.mean(mean**2, axis=2) + hidden + jnp.sum(of_g1 * of_images, axis=(2, 3)) / width

    def metric(gradients: Weights) -> Weights:
        first, second, readout = gradients
        return first / n_k, second / (n_k * readout.shape[1]), readout

    return Networks(draw, fields, step, kernel, metric, lambda width: max(1, min(16, 128 // width)))


def networks(p: Problem) -> Networks:
    if p.kind == "cnn":
        return _convolutional(p)
    return _two_layers(p) if p.depth == 1 else _dense(p)


# --- training ---


def _observe(p: Problem, n: Networks, weights: Weights) -> jax.Array:
    """(observable, time, member, point) of a block: f - f0 and the diagonal of K at the kept times."""
    align = jnp.transpose if n.members_last else lambda v: v
    y = p.y[: p.train].astype(np.float32)[:, None] if n.members_last else p.y[: p.train].astype(np.float32)
    trained = (slice(p.train),) if n.members_last else (slice(None), slice(p.train))
    start = n.fields(weights)[0]

    def step(_: Any, weights: Weights) -> Weights:
        f, kept = n.fields(weights)
        return n.step(weights, kept, (p.rate * p.gamma0) * (y - (f - start)[trained]))

    def interval(weights: Weights, span: jax.Array) -> tuple[Weights, jax.Array]:
        weights = jax.lax.fori_loop(0, span, step, weights)
        f, kept = n.fields(weights)
        return weights, jnp.stack([align(f - start), align(n.kernel(weights, kept))])

    spans = np.diff([0, *p.times]).astype(np.int32)
    return jnp.swapaxes(jax.lax.scan(interval, weights, spans)[1], 0, 1)


class Moments(NamedTuple):
    """Of an ensemble: members, mean, and central moments 2 and 4, each (observable, time point)."""

    members: int
    mean: np.ndarray
    second: np.ndarray
    fourth: np.ndarray


class Ensemble:
    """Networks of one width, trained a number of blocks per call of the program; `seconds` adds up what processors
    spent on `members` networks, compilation excluded."""

    def __init__(self, p: Problem, width: int, members: int | None = None) -> None:
        n = networks(p)
        self.width, self.block, self.seconds, self.members = width, n.block(width), 0.0, 0
        most = max(1, (1 << (13 if p.kind == "cnn" else 16)) // (width * self.block))
        self.at_once = most if members is None else min(most, -(-members // self.block))

        def block(center: jax.Array, seed: jax.Array) -> jax.Array:
            shifted = _observe(p, n, n.draw(seed, width, self.block)) - center[:, :, None]
            return jnp.stack([jnp.sum(shifted**k, axis=2) for k in (1, 2, 3, 4)])

        self._run = jax.jit(lambda center, seeds: jax.lax.map(partial(block, center), seeds))
        self.shape = (2, len(p.times), len(p.x))
        first = np.asarray(self._run(np.zeros(self.shape, np.float32), self._seeds(0, 0)))
        self.center = (first[:, 0].mean(axis=0) / self.block).astype(np.float32)

    def _seeds(self, seed: int, call: int) -> np.ndarray:
        return np.random.default_rng([seed, self.width, call]).integers(1 << 32, size=self.at_once, dtype=np.uint32)

    def __call__(self, members: int | None = None, seconds: float = np.inf, seed: int = 0) -> Moments:
        """Of `members` (rounded up to whole blocks), or of as many as take `seconds`."""
        blocks = None if members is None else -(-members // self.block)
        began, call, done, sums = self.seconds, 0, 0, np.zeros((4, *self.shape))
        while self.seconds - began < seconds if blocks is None else done < blocks:
            call += 1
            mark = time.process_time()
            computed = np.asarray(self._run(self.center, self._seeds(seed, call)))
            self.seconds += time.process_time() - mark
            self.members += len(computed) * self.block
            computed = computed if blocks is None else computed[: blocks - done]
            done += len(computed)
            sums += computed.sum(axis=0, dtype=np.float64)
        m1, m2, m3, m4 = (sums / (done * self.block)).reshape(4, 2, -1)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        return Moments(done * self.block, self.center.reshape(2, -1) + m1, m2 - m1**2, fourth)


def check(p: Problem, width: int = 16) -> float:
    """Largest relative difference of a step and of K from automatic differentiation of f."""
    n = networks(p)
    weights = n.draw(jnp.uint32(7), width, 16)
    kept = n.fields(weights)[1]
    delta = normal(jnp.uint32(8), *((p.train, 16) if n.members_last else (16, p.train)))
    place = (lambda i: (i,)) if n.members_last else (lambda i: (slice(None), i))

    def gradient(point: int, factor: Any = 1.0) -> Weights:
        return jax.grad(lambda w: p.gamma0 * width * jnp.sum(factor * n.fields(w)[0][place(point)]))(weights)

    pushes = [gradient(i, delta[place(i)]) for i in range(p.train)]
    moved = jax.tree.map(jnp.add, weights, n.metric(jax.tree.map(lambda *each: sum(each), *pushes)))

    def norm(g: Weights) -> jax.Array:
        products = jax.tree.map(jnp.multiply, g, n.metric(g))
        over = (lambda v: tuple(range(v.ndim - 1))) if n.members_last else (lambda v: tuple(range(1, v.ndim)))
        flat = [jnp.sum(v, axis=over(v)) for v in products]
        return sum(flat, jnp.zeros(())) / width

    kernel = jnp.stack([norm(gradient(i)) for i in range(len(p.x))], axis=0 if n.members_last else 1)
    pairs = [*zip(n.step(weights, kept, delta), moved, strict=True), (n.kernel(weights, kept), kernel)]
    return max(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in pairs)
