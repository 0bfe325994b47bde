"""Activations and losses of plugins: those of examples/plugins in theory and networks, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example_plugins import installed
from experiments import experiment, message
from plugin_stand_ins import install, registry_of
from scipy.special import expit

import fwdmft
from fwdmft import losses
from fwdmft.activations import activation, kinked
from fwdmft.errors import PluginError
from fwdmft.experiment.json_schema import experiment_schema
from fwdmft.preparing import prepare
from fwdmft.registry import plugins, registry

POINTS, STEPS = 2, 5


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("site"), "swish", "parity"):
        yield


def spec(**changes: object) -> dict[str, object]:
    parts = {
        "architecture": {"kind": "mlp", "activation": "swish"},
        "loss": {"kind": "parity"},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": STEPS},
        "data": {"kind": "digits", "train": POINTS, "test": 1, "resolution": 2},
        "theory": {"neurons": 1024, "save_every": 2, "bias": False},
        "ensemble": {"widths": [256], "members": 100},  # shifts b/N of means are below their errors
    }
    return experiment(**parts | changes)


def test_they_are_listed_and_in_the_schema() -> None:
    registered = {report.name: report.registers for report in plugins()}
    assert registered["swish"] == ["activation: swish"] and registered["parity"] == ["loss: parity"]
    definitions = experiment_schema()["$defs"]
    assert "Parity" in definitions and "swish" in definitions["MLP"]["properties"]["activation"]["enum"]
    assert "did you mean swish?" in message(architecture={"kind": "mlp", "activation": "swich"})


def test_their_values() -> None:
    h = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(activation("swish", 0.5, 2.0)(h), 4 * (0.5 * h) * expit(0.5 * h), rtol=1e-6)
    assert not kinked("swish")
    loss = registry().get("loss", "parity").spec()
    f, y = jnp.array([[0.5], [-2.0]]), jnp.array([[1.0], [1.0]])
    np.testing.assert_allclose(losses.total(loss, f, y), (0.5**4 + 3.0**4) / 4)
    np.testing.assert_allclose(losses.residual(loss, f, y), [[0.5**3], [3.0**3]])


def test_theory_and_networks_with_both_agree() -> None:
    """f, K and their variances; the tangent kernel at the start is that of Gaussian preactivations."""
    result = fwdmft.run(fwdmft.load_experiment(spec()))
    scores = fwdmft.agreement(result)
    for quantity in ("mean", "variance"):
        for name in ("prediction", "tangent_kernel"):
            assert scores[f"{quantity}_max"].sel(variable=name, width=256).item() < 4.5, (quantity, name)
    x = result["data/x"].values
    theory = result["theory"].to_dataset()
    actual, error = (theory[f"tangent_kernel{end}"].values[0, :, 0, :, 0] for end in ("", "_standard_error"))
    assert (abs(actual - tangent_kernel_at_start(x)) < 5 * error).all()
    used = json.loads(result.attrs["plugins"])
    assert used["loss parity"] == ["parity", "0.1.0"] and used["activation swish"] == ["swish", "0.1.0"]


def tangent_kernel_at_start(x: np.ndarray) -> np.ndarray:
    """E phi phi' + E phi'(h) phi'(h') x.x'/D over Gaussian h, h', by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    u, v = np.meshgrid(nodes, nodes)
    weight = np.outer(weights, weights) / (2 * np.pi)
    gram = x @ x.T / x.shape[1]
    kernel = np.empty_like(gram)
    for i, j in np.ndindex(gram.shape):
        first = gram[i, i] ** 0.5
        slope = gram[i, j] / first
        h, other = first * u, slope * u + max(gram[j, j] - slope**2, 0.0) ** 0.5 * v
        phi, step = (lambda z: z * expit(z)), (lambda z: expit(z) * (1 + z * (1 - expit(z))))
        kernel[i, j] = np.sum(weight * (phi(h) * phi(other) + gram[i, j] * step(h) * step(other)))
    return kernel


def test_targets_and_kinks_are_checked() -> None:
    with pytest.raises(fwdmft.InputError, match=r"data.y: got \[0.5.*\+1 or -1 everywhere for the loss parity"):
        loss = registry().get("loss", "parity").spec()
        from fwdmft.datasets.dataset import check_targets

        check_targets(loss, np.array([[1.0], [0.5]]))


KINKED = """
from typing import Literal
from fwdmft import ActivationFunction, LossFunction, hookimpl
from fwdmft.experiment.loss import LossSpec

class Absolute(LossSpec):
    kind: Literal["absolute"] = "absolute"

def absolute(f, y):
    return abs(f - y).sum(axis=-1)

def halved(h):
    return h[..., :1]

@hookimpl
def fwdmft_losses():
    return [LossFunction(Absolute, absolute, kinked=True)]

@hookimpl
def fwdmft_activations():
    return [ActivationFunction("halved", halved)]
"""


def test_kinked_losses_and_functions_of_other_shapes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "kinks-dist", {"kinks": KINKED})
    registry.cache_clear()
    try:
        absolute = {"loss": {"kind": "absolute"}}
        with pytest.raises(
            fwdmft.InputError, match="loss.kind: got 'absolute'; expected a loss with second derivatives"
        ):
            prepare(fwdmft.load_experiment(spec(**absolute)))
        prepare(fwdmft.load_experiment(spec(**absolute, theory=None)))
        rough = {"neurons": 64, "fluctuations": False, "bias": False}
        prepare(fwdmft.load_experiment(spec(**absolute, theory=rough)))
        with pytest.raises(PluginError, match=r"activation 'halved' of plugin 'kinks' \(kinks-dist 1.0\) makes"):
            prepare(fwdmft.load_experiment(spec(architecture={"kind": "mlp", "activation": "halved"})))
    finally:
        registry.cache_clear()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("1", "expected an fwdmft.plugin.ActivationFunction"),
        ("ActivationFunction('swosh', 1)", "expected function to be callable"),
        ("ActivationFunction('a b', abs)", "expected a name of letters, digits and underscores"),
        ("ActivationFunction('tanh', abs)", "activation kind 'tanh' is registered by plugin 'fwdmft'"),
    ],
)
def test_invalid_activations_are_refused(
    item: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = "from fwdmft import ActivationFunction, hookimpl\n@hookimpl\ndef fwdmft_activations():\n    return [{}]\n"
    install(tmp_path, "odd-dist", {"odd": source.format(item)})
    (report,) = (report for report in registry_of(tmp_path).reports if report.name == "odd")
    assert expected in (report.failure or "")


def test_functions_are_traced_in_both_precisions() -> None:
    for double in (False, True):
        with jax.enable_x64(double):
            assert activation("swish")(jnp.ones(2)).dtype == (np.float64 if double else np.float32)
