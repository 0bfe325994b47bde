"""What `validate` builds: all that a run builds, short of computing."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiments import experiment
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.corrections.from_response import has_response
from fwdmft.engine import simulation
from fwdmft.engine.infinite_width import infinite_width
from fwdmft.engine.problem import TheoryTask
from fwdmft.engine.simulation import gaussian_matrices
from fwdmft.errors import FwdmftWarning, InputError, PluginError
from fwdmft.expansion import check_richness
from fwdmft.experiment.parameterization import MeanField, NeuralTangent
from fwdmft.preparing import Prepared, prepare
from fwdmft.registry import registry
from fwdmft.theory import solve

POINTS = {"kind": "gaussian", "features": 3, "train": 2, "test": 0}
LAZY = {"kind": "neural_tangent"}
DESCENT = {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 4}


def prepared(**changes: Any) -> Prepared:
    return prepare(fwdmft.load_experiment(experiment(**{"data": POINTS, **changes})))


def images(side: int, **architecture: Any) -> dict[str, Any]:
    return {
        "architecture": {"kind": "cnn", "depth": 1, **architecture},
        "data": {"kind": "digits", "resolution": side, "train": 4, "test": 0},
    }


@pytest.mark.parametrize("function", [fwdmft.run, fwdmft.estimate])
def test_paths_are_no_experiments(function: Any) -> None:
    with pytest.raises(InputError, match=r"experiment: got 'digits\.yaml'; expected what fwdmft\.load_experiment"):
        function("digits.yaml")


def test_ensembles_are_measured_when_the_theory_is_unless_they_say_when() -> None:
    for theory, ensemble, expected in (
        ({"save_every": 2}, {}, 2),
        ({"save_every": 2}, {"save_every": 3}, 3),
        (None, {}, 1),
    ):
        task = prepared(theory=theory, ensemble={"widths": [4], **ensemble}).ensemble
        assert task is not None and task.save_every == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"parameterization": {"kind": "mean_field", "sigma_w": [1, 1, 1]}},
            "parameterization.sigma_w: got [1.0, 1.0,",
        ),
        ({"parameterization": LAZY, "optimizer": DESCENT | {"weight_decay": 0.1}}, "optimizer.weight_decay: got 0.1"),
        (
            {"theory": {"responses": True}},
            "theory.responses: got True; expected false, or one output",
        ),
        (
            images(2, depth=4, pooling="average"),
            "architecture.pooling: got 'average'; expected images on which layer 2",
        ),
        (images(2, kernel_size=7), "architecture.kernel_size: got 7; expected at most 5 on images of 2x2 pixels"),
        (
            {"optimizer": DESCENT | {"kind": "gradient_flow"}, "ensemble": {"widths": [4], "predictions": "last"}},
            "ensemble.predictions: got 'last'; expected every or auto",
        ),
    ],
)
def test_what_a_run_refuses_validation_refuses(changes: dict[str, Any], expected: str) -> None:
    for left_out in ({}, {"theory": None}, {"ensemble": None}):
        if not left_out.keys() & changes.keys():
            with pytest.raises(InputError) as error:
                prepared(**changes, **left_out)
            assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0.0, "data.x: got 0.0; expected inputs of which some are not zero, or a bias"),
        (1e200, "data.x: got numbers as large as 1e+200; expected numbers of which the largest is from 1e-15 to 1e+15"),
        (1e-200, "data.x: got numbers as large as 1e-200"),
    ],
)
def test_inputs_that_no_network_can_take(tmp_path: Path, size: float, expected: str) -> None:
    np.savez(tmp_path / "points.npz", x=size * np.eye(3), y=np.ones(3))
    data = {"kind": "file", "path": str(tmp_path / "points.npz")}
    with pytest.raises(InputError) as error:
        prepared(data=data)
    assert str(error.value).startswith(expected)
    if size == 0:
        assert prepared(data=data, architecture={"kind": "mlp", "bias": 1.0}).theory is not None
        assert prepared(data=data, theory=None).theory is None


def test_the_command_builds_every_point_of_a_sweep(tmp_path: Path) -> None:
    scales = [{"kind": "mean_field", "sigma_w": scales} for scales in ([1, 2], [1, 2, 3])]
    values = {"name": "a", "base": experiment(data=POINTS, name=None), "over": {"parameterization": scales}}
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(values))
    actual = CliRunner().invoke(app, ["validate", str(path)])
    assert actual.exit_code == 2
    assert "parameterization.sigma_w: got [1.0, 2.0, 3.0]; expected one number, or a list of 2" in actual.stderr


@pytest.mark.parametrize("sweep", [False, True])
def test_the_command_refuses_what_does_not_fit_into_memory(tmp_path: Path, sweep: bool) -> None:
    """A hundred thousand saved times of a thousand simulations, none of which is begun."""
    descent = DESCENT | {"steps": 10**5}
    large = experiment(data=POINTS, ensemble=None, optimizer=descent, theory={"neurons": 2**24, "replicates": 1000})
    values = {"name": "a", "base": large, "over": {"theory.seed": [0, 1]}} if sweep else large
    path = tmp_path / "large.json"
    path.write_text(json.dumps(values))
    actual = CliRunner().invoke(app, ["validate", str(path)])
    assert actual.exit_code == 2 and "memory: got 'an estimated" in actual.stderr
    assert CliRunner().invoke(app, ["validate", "--force", str(path)]).exit_code == 0


# --- plugins ---


def test_a_network_that_predicts_something_else_is_reported_with_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    actual = registry()
    mlp, report = actual._items["architecture"]["mlp"]

    def model(spec: Any, parameterization: Any, x: Any, outputs: int, width: int, key: Any) -> Any:
        return mlp.model(spec, parameterization, x, outputs + 1, width, key)

    monkeypatch.setitem(actual._items["architecture"], "mlp", (replace(mlp, model=model), report))
    with pytest.raises(
        PluginError, match=r"'mlp' of plugin 'mlp' \(fwdmft .*\) predicts in the shape \(2,\); expected"
    ):
        prepared()


def test_data_that_are_no_data_set_are_reported_with_their_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fwdmft.load_experiment(experiment(data=POINTS))
    monkeypatch.setattr(type(loaded.data), "load", lambda spec, base: (np.eye(2), np.ones(2)))
    with pytest.raises(PluginError, match=r"data 'gaussian' of plugin 'fwdmft' \(fwdmft .*\) loads no Dataset"):
        prepare(loaded)


# --- richness at finite width ---


class Power(MeanField):
    """gamma0(N) = limit (1 + c/N + d/sqrt(N)) + N^power."""

    limit: float = 0.0
    power: float | None = None
    c: float = 0.0
    d: float = 0.0

    def richness(self, width: int | None) -> float:
        if width is None:
            return self.limit
        vanishing = 0.0 if self.power is None else width**self.power
        return self.limit * (1 + self.c / width + self.d / width**0.5) + vanishing


@pytest.mark.parametrize(
    "valid",
    [MeanField(gamma0=2.0), NeuralTangent(), Power(power=-0.5), Power(limit=0.5, c=30.0), Power(limit=1.0, power=-1.0)],
)
def test_richness_with_an_expansion(valid: MeanField) -> None:
    check_richness(valid)


@pytest.mark.parametrize(
    ("invalid", "expected"),
    [
        (Power(power=-0.25), r"N gamma0\(N\)\^2 does not converge: it is 316.2 at N = 100000 and 3162 at N = 10000000"),
        (Power(power=-0.45), r"N gamma0\(N\)\^2 does not converge"),
        (Power(power=-1.0), r"N gamma0\(N\)\^2 does not converge"),
        (Power(limit=1.0, d=1.0), r"N \(gamma0\(N\)/gamma0 - 1\) does not converge"),
        (Power(limit=1.0, power=0.1), r"N \(gamma0\(N\)/gamma0 - 1\) does not converge"),
        (Power(limit=-1.0), r"positive numbers gamma0\(N\)"),
    ],
)
def test_richness_without_an_expansion_is_refused(invalid: MeanField, expected: str) -> None:
    with pytest.raises(InputError, match=rf"parameterization.kind: got 'mean_field'; expected .*{expected}"):
        check_richness(invalid)


def test_richness_at_finite_width_is_in_b() -> None:
    """gamma0(N) = g (1 + c/N) adds c g dq/dg to b = lim N (E q_N - q), the derivative taken from two values of g.

    Terms of order (c/n)^3 from draws of width n are 1 % of that.
    """
    c, step, sizes = 3.0, 0.05, {"neurons": 16384, "save_every": 3}

    def task(g: float, **theory: Any) -> TheoryTask:
        scaled = {"kind": "mean_field", "gamma0": g}
        actual = prepared(theory=sizes | theory, ensemble=None, optimizer=DESCENT, parameterization=scaled).theory
        assert actual is not None
        return actual

    def richer(task: TheoryTask) -> TheoryTask:
        return replace(task, richness=lambda width: 1 + c / width)

    # The linear response is that of infinite width, which knows nothing of it.
    with jax.enable_x64(True):
        assert has_response(task(1.0))
        assert not has_response(richer(task(1.0)))
        drawn = task(1.0, draws=1024, draw_width=32, relative_error=0.01)
        plain, rich = solve(drawn), solve(richer(drawn))
        below, above = (solve(task(g, fluctuations=False, bias=False)).mean for g in (1 - step, 1 + step))
    expected = c * (above["prediction"] - below["prediction"])[-1] / (2 * step)
    added = (rich.bias["prediction"] - plain.bias["prediction"])[-1]
    error = np.hypot(rich.bias_standard_error["prediction"], plain.bias_standard_error["prediction"])[-1]
    assert np.all(np.abs(added - expected) < 4 * error)
    assert np.max(np.abs(expected) / error) > 8, "the effect is resolved"


DEEP = {"kind": "deep", "depth": 3}


def test_memory_of_bases_is_foreseen() -> None:
    """Of the bases that 20 steps on 64 digits took, with what a step makes of them."""
    theory = {"neurons": 4096, "basis_tolerance": 1e-4, "fluctuations": False, "bias": False}
    data = {"kind": "digits", "train": 62, "test": 2}
    actual = prepared(architecture=DEEP, data=data, theory=theory, ensemble=None)
    assert actual.theory is not None
    equations = actual.theory.equations.with_capacities(((520, 876), (672, 836)))
    numbers = {supply.name: (supply.count, 4096) for supply in equations.supplies}
    numbers |= {population.name: (population.gaussians, 4096) for population in equations.populations}
    with jax.enable_x64(True):
        noise = {name: jax.ShapeDtypeStruct(shape, np.float64) for name, shape in numbers.items()}
        matrices = jax.eval_shape(lambda noise: gaussian_matrices(equations, noise, momentum=False), noise)
    assert actual.peak_bytes > 8 * sum(a.size for a in jax.tree.leaves((noise, matrices, matrices)))


def test_bases_of_many_images_are_refused_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: Any) -> None:
        raise AssertionError("a pass was begun")

    monkeypatch.setattr(simulation, "_large_pass", begun)
    data = {"kind": "digits", "train": 100, "test": 0}
    task = prepared(architecture={"kind": "cnn", "depth": 2}, data=data, ensemble=None).theory
    assert task is not None
    with jax.enable_x64(True):
        actual = infinite_width(task, lambda *_: None)
        assert isinstance(actual, simulation.Crowded) and actual.vectors == 6400
        with pytest.raises(AssertionError):
            infinite_width(replace(task, spec=task.spec.model_copy(update={"neurons": 16})), print)


def test_remarks_of_an_architecture_are_warnings_where_there_is_theory(tmp_path: Path) -> None:
    """Those of transformers: linear attention vanishes at infinite width, softmax attention does not."""
    data = {"kind": "sequences", "task": "recall", "delay": 1, "length": 3, "train": 2, "test": 0}
    for scores, changes, expected in (("linear", {}, 1), ("softmax", {}, 0), ("linear", {"theory": None}, 0)):
        path = tmp_path / "experiment.json"
        architecture = {"kind": "transformer", "scores": scores}
        path.write_text(json.dumps(experiment(architecture=architecture, data=data, **changes)))
        with (
            pytest.warns(FwdmftWarning, match=r"^architecture\.scores: linear attention vanishes at infinite width")
            if expected
            else nullcontext()
        ):
            done = CliRunner().invoke(app, ["validate", str(path)])
        assert done.exit_code == 0, done.output
