"""What an architecture observes besides goes through theory, ensembles, comparison and files like everything else."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from experiments import experiment

import fwdmft
from fwdmft.errors import PluginError
from fwdmft.merging import merge
from fwdmft.observables import Observable
from fwdmft.preparing import prepare
from fwdmft.program.building import forward_program
from fwdmft.program.net import Net
from fwdmft.registry import registry
from fwdmft.results.judging import compare
from fwdmft.results.layout import rows
from fwdmft.results.write import validate_result, write_result
from fwdmft.testing.agreement import ROUNDING, assert_equal
from fwdmft_mlp.model import TwoLayer

ENERGY = Observable("mean square of the features", r"\epsilon^{\ell}", ("layer", "point"))
DATA = {"kind": "gaussian", "features": 3, "train": 2, "test": 1}


def forward(net: Net, x: Any, activation: str) -> jax.Array:
    """A two-layer network that observes the diagonal of its feature kernel under another name."""
    _, v = net.layer("hidden", net.input("W", "hidden", x), ACTIVATIONS[activation])
    net.observe("energy", ENERGY.dims, net.average("hidden", v**2)[None])
    return net.readout("w", "hidden", v)


ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


def field_equations(spec: Any, parameterization: Any, x: np.ndarray, outputs: int) -> Any:
    return forward_program(forward, x, outputs, 1.0, spec.activation, center=True, smooth=spec.activation == "tanh")


class EnergeticNetwork(TwoLayer):
    def observables(self, x: jax.Array) -> dict[str, jax.Array]:
        _, features = self.trace(x, self.shifts())
        return {"energy": jnp.stack([jnp.mean(layer**2) for layer in features])}


def _of_class(cls: Any, made: Any) -> Any:
    return cls(**{field.name: getattr(made, field.name) for field in fields(made)})


@pytest.fixture
def energetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """mlp, which observes its energy as well; the fixture replaces parts of it."""
    actual = registry()
    mlp, report = actual._items["architecture"]["mlp"]

    def install(**parts: Any) -> None:
        energetic = replace(
            mlp,
            field_equations=field_equations,
            model=lambda *given: _of_class(EnergeticNetwork, mlp.model(*given)),
            observables={"energy": ENERGY},
        )
        monkeypatch.setitem(actual._items["architecture"], "mlp", (replace(energetic, **parts), report))

    install()
    yield install


def _experiment(activation: str, **theory: int) -> Any:
    return fwdmft.load_experiment(
        experiment(
            architecture={"kind": "mlp", "activation": activation},
            optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 3},
            data=DATA,
            theory={"neurons": 256, "replicates": 2, **theory},
            ensemble={"widths": [4, 8], "members": 20, "precision": "float64"},
        )
    )


def test_a_declared_observable_is_carried_through(energetic: Any, tmp_path: Path) -> None:
    """The diagonal of the feature kernel is the same under its new name, in every variable of the file."""
    result = fwdmft.run(_experiment("relu", draws=64, draw_width=8))
    reread = fwdmft.open_result(write_result(result, tmp_path / "result.nc"))
    _assert_theory_is_the_diagonal(reread["theory"])
    ensemble = [f"_{name}{end}" for name in ("mean", "variance", "n_variance") for end in ("", "_standard_error")]
    for role in ensemble:
        _assert_is_the_diagonal(reread["ensemble"], role, ("width", "layer", "time", "point"))
    _assert_compared(fwdmft.agreement(reread))


def test_a_declared_observable_is_published_merged_and_compared(energetic: Any, tmp_path: Path) -> None:
    """Its variables are in the tables of the format, and a merged ensemble has it like the kernel it is of."""
    spec = _experiment("tanh").model_copy(update={"theory": None})
    several = {
        str(seed): fwdmft.run(spec.model_copy(update={"ensemble": spec.ensemble.model_copy(update={"seed": seed})}))
        for seed in (1, 2)
    }
    published = rows()["ensemble"]
    for name, variable in several["1"]["ensemble"].data_vars.items():
        if name.startswith("energy"):
            assert [entry.dims for entry in published[name]] == [variable.dims]
    merged = validate_result(write_result(merge(several), tmp_path / "merged.nc"))
    assert merged["ensemble"]["members"].values.tolist() == [40, 40]
    for role in ("_mean", "_variance", "_third_moment", "_n_variance_standard_error"):
        _assert_is_the_diagonal(merged["ensemble"], role, ("width", "layer", "time", "point"))
    judged = compare(several).judged[0].rows
    assert {row["quantity"] for row in judged if row["observable"] == "energy"} == {"mean", "variance", "bias"}


def test_a_declared_observable_has_a_linear_response(energetic: Any) -> None:
    of_theory = _experiment("tanh").model_copy(update={"ensemble": None})
    _assert_theory_is_the_diagonal(fwdmft.run(of_theory)["theory"])


def _assert_theory_is_the_diagonal(group: xr.DataTree) -> None:
    """To rounding at infinite width; corrections are solved for, which amplifies rounding, and b is weighed by errors
    that all entries of an observable share."""
    _assert_is_the_diagonal(group, "", ("layer", "time", "point"))
    assert (group["energy_standard_error"] > 0).all()
    for role in ("_variance", "_bias"):
        energy, error = group[f"energy{role}"], group[f"energy{role}_standard_error"]
        assert energy.dims == error.dims == ("layer", "time", "point")
        difference = energy.values - np.einsum("...mm->...m", group[f"feature_kernel{role}"].values)
        assert (abs(difference) <= error + ROUNDING).all()


def _assert_is_the_diagonal(group: xr.DataTree, role: str, dims: tuple[str, ...]) -> None:
    kernel, energy = group[f"feature_kernel{role}"], group[f"energy{role}"]
    assert energy.dims == dims
    assert_equal(role, energy.values, np.einsum("...mm->...m", kernel.values))
    assert ENERGY.words in energy.attrs["long_name"] and ENERGY.symbol in energy.attrs["symbol"]
    assert energy.attrs["units"] == kernel.attrs["units"]


def _assert_compared(numbers: xr.Dataset) -> None:
    assert numbers["variable"].values.tolist()[-1] == "energy"
    for quantity in ("mean", "variance", "bias"):
        assert (numbers[f"{quantity}_entries"].sel(variable="energy") == 9).all()  # 3 times, 3 points
        assert np.isfinite(numbers[f"{quantity}_rms"].sel(variable="energy")).all()


def test_networks_that_observe_something_else_are_reported_with_their_plugin(energetic: Any) -> None:
    energetic(observables={"energy": ENERGY._replace(dims=("point",))}, field_equations=lambda *given: None)
    only_networks = _experiment("tanh").model_copy(update={"theory": None})
    with pytest.raises(PluginError, match=r"plugin 'mlp' .* observes {'energy': \(1,\)} of a point; expected as many"):
        prepare(only_networks)


def test_theory_that_observes_something_else_is_reported_with_its_plugin(energetic: Any) -> None:
    spec = _experiment("tanh")
    for parts in ({"observables": {}}, {"observables": {"energy": ENERGY._replace(dims=("point", "layer"))}}):
        energetic(**parts)
        with pytest.raises(PluginError, match=r"plugin 'mlp' .* has field equations of dims .*; expected {"):
            prepare(spec)


def test_without_kernels_nothing_else_is_observed(energetic: Any) -> None:
    spec = _experiment("tanh").model_copy(update={"theory": None})
    ensemble = spec.ensemble.model_copy(update={"kernels": False})
    result = fwdmft.run(spec.model_copy(update={"ensemble": ensemble}))
    assert "prediction_mean" in result["ensemble"] and "energy_mean" not in result["ensemble"]
