"""Transformers of finite width: symmetries, special cases, explicit sums, and what ensembles hold of attention."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import experiment

import fwdmft
from fwdmft.experiment.optimizer import GradientDescent
from fwdmft.experiment.parameterization import MeanField
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.preparing import prepare
from fwdmft.registry import registry
from fwdmft.results import write_result
from fwdmft.testing import Case, points
from fwdmft.testing.agreement import ROUNDING, assert_equal, assert_zero
from fwdmft.testing.networks import LAWS
from fwdmft_transformer.model import TransformerNetwork

WIDTH, TOKENS, FEATURES, GAMMA0 = 6, 4, 3, 1.5
DATA = {"kind": "in_context_regression", "features": 2, "context": 2, "train": 2, "test": 1}
_, Y, TRAIN = points(2, 1, outputs=2)
X = np.random.default_rng(1).standard_normal((2, TOKENS, FEATURES))
SCORES = ("softmax", "linear")
HEADS = {"heads": "infinite", "key_size": 2}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def case(sigma_w: Any = 2.0, **spec: Any) -> Case:
    parameterization = MeanField(gamma0=GAMMA0, sigma_w=sigma_w)
    architecture = registry().get("architecture", "transformer")
    settings = {"kind": "transformer", "depth": 2, "branch_scale": 0.7, **spec}
    return Case("transformer", architecture, settings, X, Y, TRAIN, parameterization)


def network(**spec: Any) -> TransformerNetwork:
    return case(**spec).build(WIDTH, jax.random.key(3))


def without_scores(model: TransformerNetwork) -> TransformerNetwork:
    """The same with Q = K = 0."""
    return eqx.tree_at(lambda m: [matrix for b in m.blocks for matrix in (b.Q, b.K)], model, replace_fn=jnp.zeros_like)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("heads", [{}, HEADS], ids=["one", "many"])
def test_laws_of_networks(law: Any, heads: dict[str, Any]) -> None:
    law(case(**heads))


@pytest.mark.parametrize(
    ("scores", "mlp", "causal", "heads"),
    [
        ("softmax", True, False, {}),
        ("softmax", False, True, {}),
        ("linear", True, True, {}),
        ("softmax", True, True, HEADS),
        ("linear", False, False, {"heads": "infinite", "key_size": 3}),
    ],
)
def test_against_the_equations_token_by_token(scores: str, mlp: bool, causal: bool, heads: dict[str, Any]) -> None:
    """Predictions, attention and the tangent kernel, which is the sum over all parameters."""
    model, size = network(scores=scores, mlp=mlp, causal=causal, **heads), heads.get("key_size", WIDTH)

    def forward(model: TransformerNetwork, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = [model.U @ x[a] / FEATURES**0.5 for a in range(TOKENS)]
        actual = []
        for block in model.blocks:
            v = [jnp.tanh(one) for one in h]
            q, k, u = ([matrix @ one / WIDTH**0.5 for one in v] for matrix in (block.Q, block.K, block.V))
            every, z = [], jnp.zeros((TOKENS, WIDTH))
            for head in range(WIDTH // size):
                own = slice(head * size, (head + 1) * size)
                weights = jnp.zeros((TOKENS, TOKENS))
                for a in range(TOKENS):
                    seen = range(a + 1 if causal else TOKENS)
                    s = {b: jnp.sum(q[a][own] * k[b][own]) / (size**0.5 if heads else WIDTH) for b in seen}
                    norm = sum(jnp.exp(s[b]) for b in seen)
                    for b in seen:
                        weights = weights.at[a, b].set(jnp.exp(s[b]) / norm if scores == "softmax" else s[b] / TOKENS)
                    z = z.at[a, own].set(sum(weights[a, b] * u[b][own] for b in seen))
                every.append(weights)
            actual.append(jnp.stack(every))
            for a in range(TOKENS):
                h[a] = h[a] + 0.7 * (block.output @ z[a] / WIDTH**0.5 if heads else z[a])
                if mlp:
                    h[a] = h[a] + 0.7 * block.W @ jnp.tanh(h[a]) / WIDTH**0.5
        f = model.w @ sum(jnp.tanh(one) for one in h) / TOKENS / (GAMMA0 * WIDTH)
        return f, (f, jnp.stack(actual))

    parameters, static = eqx.partition(model, eqx.is_array)
    differentiated = jax.jacrev(lambda p, x: forward(eqx.combine(p, static), x), has_aux=True)
    jacobian, (f, attention) = jax.jit(jax.vmap(differentiated, in_axes=(None, 0)))(parameters, jnp.asarray(X))
    actual, observed = jax.jit(jax.vmap(lambda x: (model(x), model.observables(x))))(jnp.asarray(X))
    assert_equal("f", actual, f)
    assert_equal("attention", observed["attention"], jnp.mean(attention, axis=2))
    if heads:
        assert_equal("attention_dispersion", observed["attention_dispersion"], jnp.var(attention, axis=2))
    rows = jnp.concatenate([leaf.reshape(2, 2, -1) for leaf in jax.tree.leaves(jacobian)], axis=2)
    expected = GAMMA0**2 * WIDTH * jnp.einsum("mcp,ndp->mcnd", rows, rows)
    actual = jax.jit(lambda: empirical_kernels(model, jnp.asarray(X), GAMMA0, WIDTH))()
    assert_equal("K", actual["tangent_kernel"], expected)
    _, layers = jax.vmap(lambda x: model.trace(x, model.shifts()))(jnp.asarray(X))
    phi = jnp.stack(layers)  # (layer, point, token, neuron)
    assert_equal("Phi", actual["feature_kernel"], jnp.einsum("lmai,lnai->lmn", phi, phi) / (WIDTH * TOKENS))
    g = jnp.einsum("ci,mai->mcai", model.w, 1 - phi[-1] ** 2) / TOKENS
    assert_equal("G", actual["gradient_kernel"][-1], jnp.einsum("mcai,ndai->mcnd", g, g) / WIDTH)


@pytest.mark.parametrize("heads", [{}, HEADS], ids=["one", "many"])
@pytest.mark.parametrize("causal", [True, False])
def test_zero_scores_average_over_tokens(causal: bool, heads: dict[str, Any]) -> None:
    model = without_scores(network(causal=causal, **heads))
    counted = np.tril(np.ones((TOKENS, TOKENS))) if causal else np.ones((TOKENS, TOKENS))
    average = counted / counted.sum(axis=1, keepdims=True)
    for x in jnp.asarray(X):
        assert_equal("attention", model.observables(x)["attention"], np.stack([average] * 2))


def test_zero_linear_scores_leave_tokens_alone() -> None:
    """f is then the mean over tokens of a network of each by itself."""
    model = without_scores(network(scores="linear"))
    single = replace(model, tokens=1)
    for x in jnp.asarray(X):
        assert_equal("f", model(x), jnp.mean(jnp.stack([single(x[a : a + 1]) for a in range(TOKENS)]), axis=0))


@pytest.mark.parametrize("heads", [{}, HEADS], ids=["one", "many"])
@pytest.mark.parametrize("scores", SCORES)
def test_a_permutation_of_tokens_permutes_attention(scores: str, heads: dict[str, Any]) -> None:
    model, order = network(scores=scores, **heads), np.array([2, 0, 3, 1])
    x = jnp.asarray(X[0])
    assert_equal("f", model(x[order]), model(x))
    attention = model.observables(x)["attention"]
    assert_equal("attention", model.observables(x[order])["attention"], attention[:, order][:, :, order])


@pytest.mark.parametrize("scores", SCORES)
def test_causal_attention_ignores_later_tokens(scores: str) -> None:
    model, kept = network(scores=scores, causal=True), 2
    x = jnp.asarray(X[0])
    other = x.at[kept:].set(7.0)
    pairs = zip(*(model.trace(one, model.shifts())[1] for one in (x, other)), strict=True)
    for features, changed in pairs:
        assert_equal("features", changed[:kept], features[:kept])
    assert not np.allclose(model(x), model(other))


def test_scales_of_weights_are_in_order() -> None:
    sigmas = np.arange(2.0, 12.0)
    one, scaled = (case(sigma_w=sigma_w).build(WIDTH, jax.random.key(3)) for sigma_w in (1.0, tuple(sigmas)))

    def in_order(model: TransformerNetwork) -> list[jax.Array]:
        return [model.U, *[m for b in model.blocks for m in (b.Q, b.K, b.V, b.W)], model.w]

    for before, after, factor in zip(in_order(one), in_order(scaled), sigmas, strict=True):
        assert_equal("weights", after, factor * before)
    with pytest.raises(fwdmft.InputError, match="expected one number, or a list of 8"):
        case(sigma_w=tuple(sigmas), mlp=False).build(WIDTH, jax.random.key(3))
    many = case(sigma_w=tuple(sigmas), mlp=False, **HEADS).build(WIDTH, jax.random.key(3))
    drawn = [many.U, *[m for b in many.blocks for m in (b.Q, b.K, b.V, b.output)], many.w]
    for before, after, factor in zip(in_order(one), drawn, sigmas, strict=True):
        assert_equal("weights of many heads", after, factor * before)


def test_heads_need_a_size() -> None:
    for field in ({"heads": "infinite"}, {"key_size": 2}):
        settings = experiment(architecture={"kind": "transformer", **field}, data=DATA)
        with pytest.raises(fwdmft.InputError, match=r"architecture\.key_size: got .* with"):
            fwdmft.load_experiment(settings)
    settings = experiment(
        architecture={"kind": "transformer", **HEADS}, data=DATA, ensemble={"widths": [9]}, theory=None
    )
    with pytest.raises(fwdmft.InputError, match=r"ensemble\.widths: got 9; .*0\.5 N"):
        prepare(fwdmft.load_experiment(settings))


def test_remarks_on_linear_attention() -> None:
    """It vanishes with one head, and has heavy tails with many; softmax has neither."""
    one, many = (case(scores="linear", **heads).schema.remarks() for heads in ({}, HEADS))
    assert "vanishes" in one[0] and "heavy tails" in many[0]
    assert case().schema.remarks() == case(**HEADS).schema.remarks() == ()


@pytest.mark.parametrize("size", [1, 3])
def test_linear_heads_at_first(size: int) -> None:
    """s_ab = q_a.k_b / sqrt(d) has mean 0 and the variance Phi_aa Phi_bb over heads, with Phi_aa = |x_a|^2 / D here."""
    settings = {"scores": "linear", "activation": "linear", "heads": "infinite", "key_size": size, "depth": 1}
    of_heads = case(sigma_w=1.0, **settings, mlp=False)
    one_step = GradientDescent(learning_rate=0.01, steps=2)
    seen = replace(of_heads, neurons=1 << 10, optimizer=one_step, save_every=1).infinite_width
    phi = np.sum(X**2, axis=2) / FEATURES
    expected = phi[:, :, None] * phi[:, None, :] / TOKENS**2
    dispersion, mean = seen["attention_dispersion"][0, 0], seen["attention"][0, 0]
    assert_zero("dispersion", replace(dispersion, value=dispersion.value - expected), float(np.max(expected)))
    assert_zero("attention", mean, float(np.max(expected)) ** 0.5)


def test_ensembles_hold_the_statistics_of_attention(tmp_path: Path) -> None:
    """At the first step, those of the members as they are built."""
    members, width = 5, 8
    spec = experiment(
        architecture={"kind": "transformer", "activation": "tanh", "depth": 2},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 2},
        data=DATA,
        theory=None,
        ensemble={"widths": [width], "members": members, "precision": "float64", "seed": 4},
    )
    loaded = fwdmft.load_experiment(spec)
    tree = fwdmft.open_result(write_result(fwdmft.run(loaded), tmp_path / "result.nc"))
    x, group = tree["data/x"], tree["ensemble"]
    assert x.dims == ("point", "token", "feature") and x.shape == (3, 3, 3)
    root = jax.random.fold_in(jax.random.key(4), width)
    build = registry().get("architecture", "transformer").model
    models = [
        build(loaded.architecture, loaded.parameterization, x.values, 1, width, jax.random.fold_in(root, m))
        for m in range(members)
    ]
    drawn = np.stack([jax.vmap(model.observables)(x.values)["attention"] for model in models]).swapaxes(1, 2)
    mean, variance = drawn.mean(axis=0), drawn.var(axis=0, ddof=1)
    statistics = {"mean": mean, "variance": variance, "n_variance": width * variance}
    statistics["mean_standard_error"] = np.sqrt(variance / members)
    for role, expected in statistics.items():
        actual = group[f"attention_{role}"]
        assert actual.dims == ("width", "block", "time", "point", "token", "token_prime")
        assert_equal(role, actual.values[0, :, 0], expected)
    np.testing.assert_allclose(group["attention_mean"].sum("token_prime"), 1.0, atol=ROUNDING)
    assert group["block"].values.tolist() == [1, 2]
    assert "attention weight" in group["attention_n_variance"].attrs["long_name"]
