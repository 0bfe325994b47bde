"""Experiments: what is read, what is refused, and with which message."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import experiment, message

import fwdmft
from fwdmft.errors import InputError
from fwdmft.experiment.halves import EnsembleSpec, TheorySpec
from fwdmft.experiment.images import DigitsData
from fwdmft.experiment.model import Experiment
from fwdmft.experiment.parameterization import MeanField, NeuralTangent
from fwdmft.registry import registry

YAML = """\
# yaml-language-server: $schema=../schemas/experiment.schema.json
name: two-layer-tanh
architecture: {kind: mlp, activation: tanh}
parameterization: {kind: mean_field, gamma0: 1.0}
optimizer: {kind: gradient_descent, learning_rate: 5e-2, steps: 60}
loss: {kind: squared_error, reduction: sum}
data: {kind: file, path: points.nc}
theory: {neurons: 16384, save_every: 1, fluctuations: true, bias: true, seed: 0}
ensemble: {widths: [64, 256], members: 1000, seed: 0}
"""


def load(**changes: Any) -> Experiment:
    return fwdmft.load_experiment(experiment(**changes))


def optimizer(**changes: Any) -> dict[str, Any]:
    return {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 6} | changes


def test_yaml_file_with_schema_comment(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(YAML)
    loaded = fwdmft.load_experiment(path)
    assert loaded.name == "two-layer-tanh"
    assert loaded.optimizer.plan(1).learning_rates[0] == 0.05
    assert loaded.ensemble is not None and loaded.ensemble.widths == (64, 256)
    assert loaded.base == tmp_path.resolve()


def test_json_file_and_round_trip(tmp_path: Path) -> None:
    first = load(optimizer=optimizer(schedule={"kind": "piecewise", "boundaries": [3], "factors": [0.5]}))
    path = tmp_path / "experiment.json"
    path.write_text(first.model_dump_json())
    again = fwdmft.load_experiment(path, base=first.base)
    assert again == first
    assert again.model_dump_json() == first.model_dump_json()
    assert again.model_copy(update={"name": "other"}) != first


def test_base_is_where_relative_data_start(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=np.eye(3), y=np.ones(3), train=2)
    loaded = fwdmft.load_experiment(experiment(data={"kind": "file", "path": "points.npz"}), base=tmp_path)
    assert loaded.data.load(loaded.base).n_train == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1\n", "valid YAML or JSON (line 2, column 1"),
        ("- 1\n", "a mapping of fields"),
        ("name: a\nname: b\n", "(line 2, column 1: 'name' is given twice)"),
    ],
)
def test_unusable_file(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        fwdmft.load_experiment(path)
    assert expected in str(error.value)
    assert "broken.yaml" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"experiment: got .*none.yaml'; expected a readable YAML or JSON file"):
        fwdmft.load_experiment(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"optimizer": optimizer(learning_rate=-0.1)},
            "optimizer.learning_rate: got -0.1; expected a number greater than 0",
        ),
        (
            {"optimizer": optimizer(learning_rate=float("nan"))},
            "optimizer.learning_rate: got nan; expected a finite number",
        ),
        (
            {"optimizer": optimizer(learning_rate="fast")},
            "optimizer.learning_rate: got 'fast'; expected a number",
        ),
        ({"optimizer": optimizer(steps=2.5)}, "optimizer.steps: got 2.5; expected a whole number"),
        (
            {"optimizer": optimizer(steps=True)},
            "optimizer.steps: got True; expected a number, not true or false",
        ),
        ({"optimizer": optimizer(momentum=1)}, "optimizer.momentum: got 1; expected a number less than 1"),
        (
            {"optimizer": {"kind": "gradient_descent", "learning_rate": 1}},
            "optimizer.steps: got nothing; expected a number of steps, or epochs with batch",
        ),
        ({"optimizer": optimizer(epochs=2)}, "optimizer.epochs: got 2; expected either steps or epochs"),
        (
            {"optimizer": {"kind": "gradient_descent", "learning_rate": 1, "epochs": 2}},
            "optimizer.epochs: got 2; expected batch to be given with epochs; otherwise say steps",
        ),
        (
            {"optimizer": {"kind": "gradient_decent"}},
            "optimizer.kind: got 'gradient_decent'; expected one of the installed kinds gradient_descent, "
            "gradient_flow (did you mean gradient_descent?)",
        ),
        (
            {"optimizer": optimizer(schedule={"kind": "step"})},
            "optimizer.schedule.kind: got 'step'; expected one of 'constant', 'cosine', 'exponential', 'piecewise'",
        ),
        (
            {"optimizer": optimizer(schedule={})},
            "optimizer.schedule.kind: got nothing; expected one of 'constant', 'cosine', 'exponential', 'piecewise'",
        ),
        (
            {"optimizer": optimizer(schedule={"kind": "piecewise", "boundaries": [5, 5], "factors": [1, 1]})},
            "optimizer.schedule.boundaries: got [5, 5]; expected increasing steps",
        ),
        (
            {"optimizer": optimizer(schedule={"kind": "piecewise", "boundaries": [5], "factors": [1, 1]})},
            "optimizer.schedule.factors: got [1.0, 1.0]; expected one factor per boundary (1)",
        ),
        (
            {"architecture": None},
            "architecture: got nothing; expected the network; `kind` chooses the plugin",
        ),
        (
            {"architecture": "mlp"},
            "architecture: got 'mlp'; expected a mapping of fields with kind: one of "
            f"{', '.join(registry().kinds('architecture'))} (did you mean {{kind: mlp}}?)",
        ),
        (
            {"loss": "cross_entropy"},
            "loss: got 'cross_entropy'; expected a mapping of fields with kind: one of logistic, "
            "softmax_cross_entropy, squared_error (did you mean {kind: softmax_cross_entropy}?)",
        ),
        (
            {"architecture": {"kind": "mlp", "depth": 3}},
            "architecture.depth: got 3; expected one of the fields kind, activation, scale, gain, bias; depth is a "
            "field of kind cnn, deep and transformer",
        ),
        (
            {"parameterization": {"kind": "mean_field", "gamma0": 0}},
            "parameterization.gamma0: got 0; expected a number greater than 0; the lazy limit gamma0 -> 0 is {kind: "
            "neural_tangent}",
        ),
        (
            {"parameterization": {"kind": "neural_tangent", "gamma0": 1}},
            "parameterization.gamma0: got 1; expected one of the fields kind, center, sigma_w; gamma0 is a field of "
            "kind mean_field",
        ),
        ({"ensemble": {"widths": 64}}, "ensemble.widths: got 64; expected a list, such as [64]"),
        (
            {"architecture": {"kind": "deep", "depth": 2, "frozen": [-1]}},
            "architecture.frozen.0: got -1; expected a number of at least 0",
        ),
        (
            {"architecture": {"kind": "mlp", "activation": "sigmoid"}},
            "architecture.activation: got 'sigmoid'; expected one of the installed activations erf, gelu, "
            "linear, relu, softplus, tanh",
        ),
        (
            {"parameterization": {"kind": "mean_field", "sigma_w": -1}},
            "parameterization.sigma_w: got -1; expected a number greater than 0 or a list",
        ),
        (
            {"parameterization": {"kind": "mean_field", "sigma_w": [1, -1]}},
            "parameterization.sigma_w.1: got -1; expected a number greater than 0",
        ),
        (
            {"parameterization": {"kind": "neural_tangent", "center": False}},
            "parameterization.center: got False; expected True",
        ),
        (
            {"loss": {"kind": "hinge"}},
            "loss.kind: got 'hinge'; expected one of the installed kinds logistic, softmax_cross_entropy, "
            "squared_error",
        ),
        (
            {"data": {"kind": "digits", "classes": [1, 1]}},
            "data.classes: got [1, 1]; expected distinct digits",
        ),
        (
            {"data": {"kind": "digits", "classes": [1, 2, 3], "targets": "sign"}},
            "data.targets: got 'sign'; expected one_hot or centered for more than two classes",
        ),
        ({"theory": {"neurons": 8}}, "theory.neurons: got 8; expected a number of at least 16"),
        ({"ensemble": {"widths": []}}, "ensemble.widths: got []; expected a list of at least 1 entries"),
        (
            {"ensemble": {"widths": range(1, 102)}},
            "ensemble.widths: got range(1, 102); expected at most 100 entries",
        ),
        ({"ensemble": {"widths": ["8"]}}, "ensemble.widths.0: got '8'; expected a whole number"),
        ({"ensemble": {"widths": [8, 8]}}, "ensemble.widths: got [8, 8]; expected distinct widths"),
        (
            {"ensemble": {"widths": [8, 9], "members": [5]}},
            "ensemble.members: got [5]; expected one number, or one per width (2)",
        ),
        (
            {"theory": None, "ensemble": None},
            "theory: got nothing; expected theory or ensemble (or both) to be given",
        ),
    ],
)
def test_bad_value_names_field_value_and_expectation(changes: dict[str, Any], expected: str) -> None:
    assert message(**changes) == expected


@pytest.mark.parametrize(
    ("section", "field", "largest"),
    [
        ("optimizer", "steps", 10**7),
        ("theory", "save_every", 10**7),
        ("theory", "neurons", 2**32 - 1),
        ("theory", "replicates", 1000),
        ("theory", "draws", 2**24),
        ("theory", "draws", 2**24),
        ("theory", "seed", 2**32 - 1),
        ("ensemble", "seed", 2**32 - 1),
        ("ensemble", "members", 10**6),
        ("architecture", "depth", 256),
        ("parameterization", "gamma0", 1e15),
    ],
)
def test_bounds(section: str, field: str, largest: float) -> None:
    """The largest value is taken, more is not, by however much; a seed of 2^32 would train the networks of seed 0."""
    filled = {
        "architecture": {"kind": "deep"},
        "parameterization": {"kind": "mean_field"},
        "optimizer": optimizer(),
        "theory": {},
        "ensemble": {"widths": [8]},
    }
    deep = {"architecture": {"kind": "deep", "depth": 1}}
    load(**deep | {section: filled[section] | {field: largest}})
    for more in (largest + (1 if isinstance(largest, int) else largest), 1e30, 10**30, 10**400):
        text = message(**deep | {section: filled[section] | {field: more}})
        assert text.startswith(f"{section}.{field}: got "), text
        assert f"; expected a number of at most {largest:{'' if isinstance(largest, int) else 'g'}}" in text, text


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("theory", {"neurons": -(10**400)}, "theory.neurons: got -100"),
        ("theory", {"neurons": -5}, "theory.neurons: got -5; expected a number of at least 16"),
        ("theory", {"relative_error": 1e30}, "theory.relative_error: got 1e+30; expected a number less than 1"),
        ("theory", {"relative_error": 10**400}, "; expected a number less than 1"),
        ("theory", {"relative_error": 0}, "theory.relative_error: got 0; expected a number greater than 0"),
        ("theory", {"relative_error": -(10**400)}, "; expected a number greater than 0"),
        (
            "ensemble",
            {"widths": [8, 10**10]},
            "ensemble.widths.1: got 10000000000; expected a number of at most 10000000",
        ),
        (
            "ensemble",
            {"widths": [8, 9], "members": [5, 1e30]},
            "ensemble.members.1: got 1e+30; expected a number of at most 1000000",
        ),
        ("optimizer", optimizer(momentum=1e20), "optimizer.momentum: got 1e+20; expected a number less than 1"),
    ],
)
def test_the_bound_of_a_field_is_named(section: str, values: dict[str, Any], expected: str) -> None:
    """Not the general one of numbers, which fails first."""
    assert expected in message(**{section: values})


def test_steps_that_follow_from_the_data_have_the_same_bound() -> None:
    batched = {"kind": "gradient_descent", "learning_rate": 1, "batch": {"size": 1}}
    with pytest.raises(
        InputError, match=r"optimizer.epochs: got 10000000; expected at most 10000000 steps \(4 per epoch"
    ):
        load(optimizer=batched | {"epochs": 10**7}).optimizer.plan(4)
    with pytest.raises(InputError, match=r"optimizer.batch.size: got 100; expected at most 100000000 visits"):
        load(optimizer=batched | {"steps": 10**7, "batch": {"size": 100}}).optimizer.plan(100)


@pytest.mark.parametrize("value", [1e-200, 1e-16, 1e16, 1e300])
def test_numbers_whose_squares_are_none(value: float) -> None:
    for section in (
        {"optimizer": optimizer(learning_rate=value)},
        {"parameterization": {"kind": "mean_field", "sigma_w": value}},
    ):
        assert f"got {value}; expected a number of at " in message(**section)


def test_pickles_hold_the_experiment(tmp_path: Path) -> None:
    first = fwdmft.load_experiment(experiment(optimizer=optimizer(schedule={"kind": "cosine"})), base=tmp_path)
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert again == first and type(again) is type(first) and again.base == first.base


def test_unknown_architecture_lists_what_is_installed() -> None:
    kinds = ", ".join(registry().kinds("architecture"))
    expected = f"expected one of the installed kinds {kinds}"
    assert message(architecture={}) == f"architecture.kind: got nothing; {expected}"
    text = message(architecture={"kind": "mpl"})
    assert text == f"architecture.kind: got 'mpl'; {expected} (did you mean mlp?)"


def test_misspelt_fields_suggest_the_closest() -> None:
    assert "(did you mean widths?)" in message(ensemble={"widhts": [8], "widths": [8]})
    assert "theroy: got {}; expected one of the fields name, title" in message(theroy={})
    text = message(architecture={"kind": "mlp", "activaton": "tanh"})
    assert text.startswith("architecture.activaton: got 'tanh'; expected one of the fields kind, activation")
    assert text.endswith("(did you mean activation?)")


def test_every_problem_has_its_line() -> None:
    text = message(optimizer=optimizer(steps=0), theory={"neurons": 1, "seed": -1})
    fields = [line.split(":")[0] for line in text.splitlines()]
    assert fields == ["optimizer.steps", "theory.neurons", "theory.seed"]


def test_defaults_are_the_documented_ones() -> None:
    loaded = load(parameterization=None, theory={}, ensemble={"widths": [4]})
    assert loaded.parameterization == MeanField(gamma0=1.0, center=True, sigma_w=1.0)
    sizes = {"neurons": None, "draws": None, "draw_width": None, "relative_error": 0.02, "replicates": 4}
    assert loaded.theory == TheorySpec(**sizes, save_every=1, fluctuations=True, bias=True, seed=0)
    assert loaded.ensemble == EnsembleSpec(widths=(4,), members=1000, precision="float32")
    assert DigitsData().classes == (0, 1)


def test_richness_and_weight_scales() -> None:
    assert MeanField(gamma0=2.0).richness(64) == MeanField(gamma0=2.0).richness(None) == 2.0
    assert NeuralTangent().richness(64) == 0.125
    assert NeuralTangent().richness(None) == 0.0
    assert MeanField(sigma_w=2.0).weight_scales(3) == (2.0,) * 4
    assert MeanField(sigma_w=(1.0, 2.0)).weight_scales(1) == (1.0, 2.0)
    with pytest.raises(InputError, match=r"parameterization.sigma_w: got \[1.0, 2.0\]; .* a list of 3"):
        MeanField(sigma_w=(1.0, 2.0)).weight_scales(2)


def test_json_round_trip_is_plain_json() -> None:
    dumped = json.loads(load().model_dump_json())
    assert dumped["architecture"]["kind"] == "mlp"
    assert fwdmft.load_experiment(dumped) == load()
