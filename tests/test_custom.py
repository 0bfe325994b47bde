"""Networks of the user: equal to the built-in one where they are that, and told what is wrong with them elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from experiments import experiment, message
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.errors import FwdmftWarning
from fwdmft.preparing import prepare
from fwdmft.results.write import validate_result, write_result

ROOT = Path(__file__).resolve().parent.parent


def spec(network: str | None, **changes: Any) -> dict[str, Any]:
    architecture = {"kind": "mlp"} if network is None else {"kind": "custom", "network": network}
    parts = {
        "architecture": architecture,
        "parameterization": {"kind": "mean_field", "gamma0": 2.0},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.02, "steps": 4, "momentum": 0.5},
        "data": {"kind": "digits", "train": 3, "test": 1, "resolution": 2},
        "theory": None,
        "ensemble": {"widths": [8, 12], "members": 20, "precision": "float64"},
    }
    return experiment(**parts | changes)


def result(network: str | None) -> xr.DataTree:
    return fwdmft.run(fwdmft.load_experiment(spec(network)))


@pytest.fixture(scope="module")
def built_in() -> xr.Dataset:
    return result(None)["ensemble"].to_dataset()


@pytest.mark.parametrize("function", ["two_layer", "two_layer_of_flax"])
def test_a_two_layer_network_is_trained_and_measured_like_the_built_in(
    function: str, built_in: xr.Dataset, tmp_path: Path
) -> None:
    """The same keys make the same weights: predictions, K, losses, N Var and errors are equal to rounding."""
    if function.endswith("flax"):
        pytest.importorskip("flax")
    tree = result(f"own_networks:{function}")
    own = tree["ensemble"].to_dataset()
    of_layers = ("feature_kernel", "gradient_kernel", "feature_alignment")
    layers = {name for name in built_in.variables if any(words in str(name) for words in of_layers)}
    assert set(own.variables) == set(built_in.variables) - layers - {"layer"}
    for name in set(own.data_vars) - {"seconds"}:
        np.testing.assert_allclose(own[name], built_in[name], rtol=1e-9, atol=1e-12, err_msg=str(name))
    assert "code of sha256" in tree.attrs["model_conventions"]
    validate_result(write_result(tree, tmp_path / "own.nc"))


def test_results_without_layers_are_shown_and_drawn(tmp_path: Path) -> None:
    tree = result("own_networks:two_layer")
    assert {path.stem for path in fwdmft.plot(tree, tmp_path)} >= {"predictions", "variance", "loss"}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("no_such_module:f", "a function that can be imported (ModuleNotFoundError: No module named 'no_such_module')"),
        ("own_networks:nothing", "the name of a function in own_networks"),
        ("own_networks:number", "the name of a function in own_networks"),
        (
            "own_networks:fails",
            "a function of a width and a key that returns a network (RuntimeError: no such width)",
        ),
        (
            "own_networks:no_module",
            "a function that returns a callable Equinox or Flax nnx module, not float",
        ),
        ("own_networks:two_outputs", "a module with outputs of shape (1,), as y has, not (2,)"),
        ("own_networks:other_features", "a module that can be called on one point (TypeError: "),
        ("own_networks:same", "a function that draws initial weights from its key; this one makes the same network"),
        ("own_networks:quits", "a function of a width and a key that returns a network (SystemExit: 0)"),
    ],
)
def test_what_is_wrong_with_a_network_is_reported(network: str, expected: str) -> None:
    with pytest.raises(fwdmft.InputError) as refusal:
        prepare(fwdmft.load_experiment(spec(network)))
    assert str(refusal.value).startswith(f"architecture.network: got {network!r}; expected {expected}")


def test_what_does_not_apply_is_refused() -> None:
    own = "own_networks:two_layer"
    assert message(architecture={"kind": "custom", "network": "own_networks"}) == (
        "architecture.network: got 'own_networks'; expected a function as module:name, such as my_networks:residual"
    )
    for changes, words in (
        ({"theory": {}}, "architecture.kind: got 'custom'; expected an architecture that has a theory"),
        ({"optimizer": {"kind": "gradient_flow", "learning_rate": 0.1, "steps": 3}}, "leave out theory, and take"),
        ({"parameterization": {"kind": "mean_field", "sigma_w": 2}}, "parameterization.sigma_w: got 2.0; expected 1:"),
    ):
        with pytest.raises(fwdmft.InputError, match=words):
            prepare(fwdmft.load_experiment(spec(own, **changes)))


def test_modules_that_quit_or_never_end_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("signal.getsignal", lambda number: None)
    (tmp_path / "own_quitting.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(fwdmft.InputError, match=r"a function that can be imported \(SystemExit: 0\)"):
        prepare(fwdmft.load_experiment(spec("own_quitting:f")))
    monkeypatch.setattr("fwdmft.plugin_code.PATIENCE", 0.05)
    (tmp_path / "own_slow.py").write_text("import time; time.sleep(0.5)\nfrom own_networks import two_layer")
    with pytest.warns(FwdmftWarning, match="network 'own_slow:two_layer' has been loading for 0.05 seconds; stop it"):
        prepare(fwdmft.load_experiment(spec("own_slow:two_layer")))


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """sys.path is as it was afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_module_beside_the_experiment_is_imported(own_path: None) -> None:
    done = CliRunner().invoke(app, ["validate", str(ROOT / "examples" / "own_network.yaml")])
    assert done.exit_code == 0 and "own-network, custom, 8 training and 4 test points" in done.stdout, done.output


def test_modules_of_one_name_are_not_confused(tmp_path: Path, own_path: None) -> None:
    """Python imports a name once: the second would be the first."""
    for home in (tmp_path / "a", tmp_path / "b"):
        home.mkdir()
        (home / "own_twin.py").write_text("from own_networks import two_layer")
    values = spec("own_twin:two_layer")
    prepare(fwdmft.load_experiment(values, tmp_path / "a"))
    prepare(fwdmft.load_experiment(values, tmp_path / "a"))
    with pytest.raises(fwdmft.InputError, match=r"another name of .*own_twin.py, as Python has a module own_twin from"):
        prepare(fwdmft.load_experiment(values, tmp_path / "b"))
