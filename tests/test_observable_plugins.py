"""Observables that plugins add to all architectures: those of examples/plugins, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from example_plugins import installed
from experiments import experiment, message
from plugin_stand_ins import install, registry_of

import fwdmft
from fwdmft.errors import InputError, PluginError
from fwdmft.identity import identity
from fwdmft.observables import Observable, ObservableFunction
from fwdmft.preparing import prepare
from fwdmft.registry import plugins, registry
from fwdmft.results import write_result
from fwdmft.testing.agreement import ROUNDING, assert_equal

NAMES = ["participation_ratio", "sharpness"]
THEORY, ENSEMBLE = {"neurons": 1024, "draws": 512, "draw_width": 16}, {"widths": [16, 64], "members": 500}
TRIPLED = ObservableFunction(
    "tripled", Observable("3 f", "3f", ("point", "output")), lambda q, train: 3 * q["prediction"]
)


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("site"), *NAMES):
        yield


def spec(**changes: Any) -> Any:
    parts: dict[str, Any] = {
        "architecture": {"kind": "mlp", "activation": "tanh"},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.3, "steps": 5},
        "data": {"kind": "gaussian", "features": 3, "train": 2, "test": 1},
        "observables": NAMES,
        "theory": THEORY,
        "ensemble": ENSEMBLE,
    }
    return fwdmft.load_experiment(experiment(**{key: each for key, each in (parts | changes).items() if each}))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    path = tmp_path_factory.mktemp("result") / "result.nc"
    report = registry().provider("observable", "sharpness")
    registry()._items["observable"]["tripled"] = (TRIPLED, report)
    return fwdmft.open_result(write_result(fwdmft.run(spec(observables=[*NAMES, "tripled"])), path))


def test_they_are_listed() -> None:
    registered = {report.name: report.registers for report in plugins()}
    assert [registered[name] for name in NAMES] == [[f"observable: {name}"] for name in NAMES]


def test_results_and_checkpoints_know_their_version(result: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["fwdmft", fwdmft.__version__]
    used = json.loads(result.attrs["plugins"])
    assert used["observable sharpness"] == ["sharpness", "0.1.0"] and used["loss squared_error"] == own
    prepared = prepare(asked := spec())
    before = identity(asked, prepared.dataset, prepared.plan)
    monkeypatch.setattr(registry().provider("observable", "sharpness"), "version", "0.2.0")
    after = identity(asked, prepared.dataset, prepared.plan)
    assert {name: after[name] for name in before if after[name] != before[name]} == {
        "plugin of observable sharpness": "sharpness 0.2.0"
    }


def test_at_infinite_width_they_are_functions_of_the_kernels(result: xr.DataTree) -> None:
    """Of the mean kernels, up to the Monte-Carlo error, by which single samplings differ."""
    theory = result["theory"]
    phi, k = (theory[name].sel(point_split="train").values for name in ("feature_kernel", "tangent_kernel"))
    ratio = np.trace(phi[..., :2], axis1=-2, axis2=-1) ** 2 / np.sum(phi[..., :2] ** 2, axis=(-2, -1))
    largest = np.linalg.eigvalsh(k[..., :2, 0].squeeze(2))[:, -1]
    assert theory["participation_ratio"].dims == ("layer", "time") and theory["sharpness"].dims == ("time",)
    for name, expected in (("participation_ratio", ratio), ("sharpness", largest)):
        error = theory[f"{name}_standard_error"].values
        assert (error > 0).all() and (abs(theory[name].values - expected) <= 4 * error).all()


def test_fluctuations_at_first_follow_from_those_of_the_kernel(result: xr.DataTree) -> None:
    """N Var o is that of the networks, both sides within their errors; the ensemble extrapolated to 1/N = 0."""
    theory, ensemble = result["theory"], result["ensemble"]
    for name in NAMES:
        first, second = (ensemble[f"{name}_n_variance"].isel(width=i).values for i in (0, 1))
        errors = [ensemble[f"{name}_n_variance_standard_error"].isel(width=i).values for i in (0, 1)]
        limit, error = (4 * second - first) / 3, np.hypot(4 * errors[1], errors[0]) / 3
        error = np.hypot(error, theory[f"{name}_variance_standard_error"].values)
        assert (abs(limit - theory[f"{name}_variance"].values) <= 4.5 * error).all(), name
        assert (theory[f"{name}_variance"] > 0).all()
        numbers = fwdmft.agreement(result).sel(variable=name)
        assert (numbers["variance_entries"] == 5).all() and np.isfinite(numbers["bias_rms"])


def test_a_linear_function_of_f_has_its_sigma_and_b(result: xr.DataTree) -> None:
    """Three times f: everything is three times that of f, its variances nine times.

    To rounding; that of regressions on control variates, and of float32, is larger.
    """
    roles = {"theory": ("", *(f"_{each}" for each in ("standard_error", "variance", "bias", "bias_standard_error")))}
    roles["ensemble"] = tuple(f"_{each}" for each in ("mean", "mean_standard_error", "variance", "n_variance"))
    for group, each in roles.items():
        for role in each:
            factor, rounding = 9 if "variance" in role else 3, 1e-5 if role else ROUNDING
            f, tripled = (result[group][f"{name}{role}"] for name in ("prediction", "tripled"))
            assert tripled.dims == f.dims
            assert_equal(role, tripled.values, factor * f.values, rounding)


def test_what_cannot_be_observed_is_refused() -> None:
    refusal = message(observables=["sharpnes"])
    assert "observables.0: got 'sharpnes'; expected one of the installed observables participation_ratio" in refusal
    assert "(did you mean sharpness?)" in refusal
    assert "each name once" in message(observables=["sharpness", "sharpness"])
    refused = {
        "none where kernels are of kernel_points alone": {"theory": {**THEORY, "kernel_points": 1}},
        "none where ensemble.kernels is false": {"ensemble": {**ENSEMBLE, "kernels": False}},
        "none where no training point is observed": {
            "optimizer": {
                "kind": "gradient_descent",
                "learning_rate": 0.1,
                "steps": 3,
                "batch": {"size": 2},
                "data": "online",
            },
            "parameterization": {"kind": "mean_field", "center": False},
            "data": {"kind": "gaussian", "features": 3, "train": 6, "test": 1},
        },
    }
    for words, changes in refused.items():
        with pytest.raises(InputError, match=words):
            prepare(spec(**changes))


@pytest.mark.parametrize("half", ["theory", "ensemble"])
def test_functions_that_do_not_fit_are_reported_with_their_plugin(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only = spec(**{"theory": None, "ensemble": None} | {half: {"theory": THEORY, "ensemble": ENSEMBLE}[half]})
    actual, report = registry()._items["observable"]["sharpness"]
    of_layers = actual.observable._replace(dims=("layer",))
    wrong = ObservableFunction("sharpness", of_layers, lambda q, train: q["prediction"][:, 0])
    monkeypatch.setitem(registry()._items["observable"], "sharpness", (wrong, report))
    with pytest.raises(PluginError, match=r"observable 'sharpness' of plugin .* has the shape \(3,\); expected one"):
        prepare(only)
    missing = ObservableFunction("sharpness", actual.observable, lambda q, train: q["hessian"])
    monkeypatch.setitem(registry()._items["observable"], "sharpness", (missing, report))
    with pytest.raises(InputError, match=r"order parameters that architecture mlp has \(.*\); it reads 'hessian'"):
        prepare(only)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("O('loss', P('w', 's', ()), len)", "'loss' of an observable not to begin with one that results have"),
        ("O('one', P('w', 's', ('time',)), len)", "the dimensions of observable 'one' to be distinct identifiers"),
        ("O('one', P('w', 's', ()), 3)", "function to be callable"),
        ("3", "an fwdmft.plugin.ObservableFunction"),
    ],
)
def test_broken_plugins_are_reported(item: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from fwdmft.plugin import Observable as P, ObservableFunction as O, hookimpl\n"
    source += f"@hookimpl\ndef fwdmft_observables():\n    return [{item}]\n"
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "broken", {"broken": source})
    (failure,) = (report.failure for report in registry_of(tmp_path).reports if report.name == "broken")
    assert failure is not None and words in failure
