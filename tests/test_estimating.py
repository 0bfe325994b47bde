"""What `fwdmft estimate` foresees, and the estimate of memory that refuses a run before it starts."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from experiments import experiment
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.compiling import jitted
from fwdmft.engine import simulation
from fwdmft.engine.infinite_width import Excess, noise_of, simulation_numbers
from fwdmft.engine.problem import TheoryTask
from fwdmft.estimating import Estimate, Part, _rounds, estimate, first_steps, rehearsed
from fwdmft.in_order import PROCESSORS
from fwdmft.observables import Observable, ObservableFunction
from fwdmft.optimization import Plan
from fwdmft.preparing import prepare
from fwdmft.resources import FIELDS, MOST_EXPECTED, Sizes, theory_bytes

POINTS = {"kind": "gaussian", "features": 3, "train": 2, "test": 1}
DESCENT = {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 5}
TINY = {"optimizer": DESCENT, "data": POINTS, "ensemble": {"widths": [4, 8], "members": 6}}


def test_the_second_call_tells_what_compiling_took() -> None:
    clock = iter([10.0, 17.0, 19.0]).__next__
    calls = count()
    assert rehearsed(lambda: next(calls), clock) == (0, 2.0, 5.0)
    assert next(calls) == 2


def test_seconds_of_all_parts() -> None:
    actual = Estimate("a", None, (), None, None, None, (Part("b", 1.0, 2.0), Part("c", 4.0)), 0, 1.0)
    assert (actual.seconds, actual.seconds_compiling) == (7.0, 2.0)


@pytest.mark.parametrize(
    ("steps", "save_every", "most", "expected"),
    [
        (10, 3, 30, (10, 3, 1.0)),  # all of it
        (100, 1, 50, (8, 1, 12.5)),  # 8 steps, each of which is saved
        (100, 5, 10, (6, 5, 205 / 16)),  # two saved times of 21
        (101, 50, 8, (9, 8, 116 / 19)),  # three of 50 steps are too much
        (100, 1, 0.3, (4, 1, 25.0)),
    ],
)
def test_the_first_steps_and_how_much_more_work_all_are(
    steps: int, save_every: int, most: float, expected: tuple[int, int, float]
) -> None:
    """With a step of one operation, and a saved time of five."""
    batches = np.arange(2 * steps).reshape(steps, 2)
    plan, every, longer = first_steps(Plan(np.arange(1.0, steps + 1), batches), save_every, 1.0, 5.0, most)
    assert (plan.steps, every, longer) == expected
    assert plan.batches is not None and plan.batches.tolist() == batches[: plan.steps].tolist()
    assert len(plan.saved(every)) == len(Plan(np.ones(steps)).saved(save_every)) or len(plan.saved(every)) >= 2


@pytest.mark.parametrize(
    ("excess", "most", "expected"),
    [
        (0.9, 1 << 17, [1024]),
        (1.5, 1 << 17, [1024, 2048]),
        (8.0, 1 << 17, [1024, 8192, 16384]),
        (99.0, 4096, [1024, 4096]),
    ],
)
def test_rounds_of_large_simulations(excess: float, most: int, expected: list[int]) -> None:
    assert _rounds(1024, Excess(excess, excess), most, 512) == expected


def test_numbers_are_those_of_the_run(tmp_path: Path) -> None:
    """On a tiny experiment, through the command; and of draws."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(experiment(**TINY, theory={"relative_error": 0.2, "bias": False})))
    done = CliRunner().invoke(app, ["estimate", str(path), "--json"])
    assert done.exit_code == 0, done.stderr
    actual = json.loads(done.stdout)
    ran = fwdmft.run(fwdmft.load_experiment(path))["diagnostics"].to_dataset()
    for name in ("neurons", "response_neurons"):
        assert 0.5 <= actual[name] / float(ran[name]) <= 2, name
    assert actual["basis_rank"] == [] and actual["draws"] is actual["draw_width"] is None
    names = ["preparing", "infinite width", "linear response", "width 4", "width 8"]
    assert [part["name"] for part in actual["parts"]] == names
    total = sum(part["seconds"] + part["compiling"] for part in actual["parts"])
    assert actual["seconds"] == pytest.approx(total) and 0 < actual["seconds_compiling"] < total
    assert actual["name"] == "test" and actual["pilot_seconds"] > 0 and actual["peak_memory_bytes"] > 100 << 20


def test_the_first_point_of_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    base = experiment(**TINY, theory=None, parameterization={"kind": "mean_field"}, name=None)
    path.write_text(yaml.safe_dump({"name": "two", "base": base, "over": {"parameterization.gamma0": [0.5, 1]}}))
    done = CliRunner().invoke(app, ["estimate", str(path), "--json"])
    actual = json.loads(done.stdout)
    assert actual["points"] == 2 and "0.5" in actual["point"] and actual["parts"][0]["name"] == "preparing"
    shown = CliRunner().invoke(app, ["estimate", str(path)]).stdout
    assert f"This is the first of 2 points, {actual['point']}." in shown


def test_draws_are_those_of_the_run() -> None:
    """With a clock that stands still: no number depends on it."""
    theory = {"neurons": 64, "replicates": 2, "draws": 600, "draw_width": 8, "bias": False, "relative_error": 0.01}
    actual = estimate(fwdmft.load_experiment(experiment(**TINY | {"theory": theory, "ensemble": None})), lambda: 3.0)
    assert (actual.neurons, actual.draws, actual.draw_width, actual.response_neurons) == (64, 600, 8, None)
    assert [part.name for part in actual.parts] == ["preparing", "infinite width", "draws"]
    assert actual.seconds == 0.0


# --- memory ---


def task(**changes: Any) -> TheoryTask:
    actual = prepare(fwdmft.load_experiment(experiment(**{"ensemble": None, **TINY, **changes}))).theory
    assert actual is not None
    return actual


def held(task: TheoryTask, sizes: Sizes = MOST_EXPECTED) -> int:
    with jax.enable_x64(True):
        return theory_bytes(task, sizes)


def test_memory_of_simulations_side_by_side_is_foreseen() -> None:
    """What XLA says that one takes, times those under way."""
    data = {"kind": "gaussian", "features": 3, "train": 100, "test": 0}
    theory = {"neurons": 4096, "kernel_points": 4, "fluctuations": False, "bias": False}
    actual = task(data=data, theory=theory)
    with jax.enable_x64(True):
        equations = actual.at_infinite_width
        training = actual.training().without_ladder()
        parts = equations, noise_of(equations, 4096, 0, 0), training, np.int32(1), None, actual.observing()
        program = jitted(simulation._level_pass.__wrapped__, quick=True, static=(5,))  # type: ignore[attr-defined]
        memory = program.lower(*parts).compile().memory_analysis()
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    together = min(4, PROCESSORS)
    assert simulation_numbers(actual, equations, 4096) == 4096 * actual.site_numbers
    assert together * taken < held(actual) < 8 * (FIELDS * together + 1) * 4096 * actual.site_numbers
    assert 8 * FIELDS * 4096 * actual.site_numbers < 3 * taken


def test_memory_follows_what_is_held() -> None:
    """As many neurons as the error may ask for; observables of plugins; the linear response; draws and their width."""
    few = task(theory={"neurons": 1024})
    assert held(task()) > 10 * held(few)
    assert held(task(), Sizes(neurons=1024, response_neurons=1024)) == held(few)
    large = Observable("many numbers", "o", ("point", "number"))
    added = ObservableFunction("many", large, lambda q, train: jax.numpy.ones((3, 10**5)))
    q = {"fluctuations": False, "bias": False, "neurons": 64}
    more = held(replace(task(theory=q), functions=(added,))) - held(task(theory=q))
    assert more == 8 * (2 + 4) * 5 * 3 * 10**5
    two_time = held(task(theory=q | {"two_time": True})) - held(task(theory=q))
    assert two_time == 8 * (2 + 4) * 2 * (5 * 3) ** 2  # two kernels
    response = [held(few, Sizes(1024, response_neurons=neurons)) for neurons in (1 << 16, 1 << 17)]
    assert response[1] - response[0] > 8 * (1 << 16) * 5 * 2  # of neurons, steps and points
    drawn = [held(task(theory={"neurons": 64, "draw_width": width})) for width in (64, 128)]
    assert drawn[1] - drawn[0] > 4 * 64 * 2 * 4 * 64 * few.site_numbers


def test_what_does_not_fit_is_refused_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number of neurons in the experiment, too: the largest that the error may ask for has to fit."""
    path = tmp_path / "many.yaml"
    data = {"kind": "gaussian", "features": 3, "train": 5000, "test": 0}
    path.write_text(yaml.safe_dump(experiment(data=data, theory={"kernel_points": 4}, ensemble=None)))
    monkeypatch.setattr("fwdmft.resources.available_memory", lambda: 3 << 30)
    monkeypatch.setattr("fwdmft.running.solve", lambda *_: pytest.fail("the computation began"))
    done = CliRunner().invoke(app, ["run", str(path), "-o", str(tmp_path / "r.nc"), "--compilation-cache", "off"])
    assert done.exit_code == 2 and "memory: got 'an estimated" in done.stderr, done.stderr
    assert "set theory.neurons" in done.stderr and list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr("fwdmft.estimating._theory", lambda *_: pytest.fail("the pilot began"))
    pilot = CliRunner().invoke(app, ["estimate", str(path)])
    assert pilot.exit_code == 2 and pilot.stderr.startswith("memory: got 'an estimated")


def test_peak_memory_is_the_most_ever_held() -> None:
    code = (
        "from fwdmft.machine import peak_memory; import psutil; a = bytearray(b'1') * (200 << 20); del a; "
        "print(peak_memory() - psutil.Process().memory_info().rss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150 << 20
