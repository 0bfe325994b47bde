"""`fwdmft check-plugin`: its case and laws, what it refuses, and a law that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fwdmft.cli import app
from fwdmft.errors import InputError
from fwdmft.registry import registry
from fwdmft.testing import LAWS, small_case
from fwdmft.testing.agreement import Estimate, assert_equal, assert_zero, recording
from fwdmft.testing.choosing import case_of, laws_of


def test_laws_are_chosen_by_parts_of_their_names() -> None:
    assert laws_of([]) == list(LAWS)
    assert [str(law) for law in laws_of(["copying", "calling"])] == [
        "copying_neurons_changes_nothing",
        "calling_is_tracing_without_shifts",
    ]
    with pytest.raises(InputError, match="^law: got 'copyed'; expected a part of the name of a law, such as"):
        laws_of(["copying", "copyed"])


@pytest.mark.parametrize(("kind", "shape"), [("mlp", (5,)), ("recurrent", (2, 3)), ("cnn", (4, 4, 1))])
def test_points_fit_the_architecture(kind: str, shape: tuple[int, ...]) -> None:
    fields = {"kind": kind} | ({"depth": 1} if kind == "cnn" else {})
    case = small_case(registry().get("architecture", kind), fields)
    assert case.x.shape[1:] == shape and case.train.tolist() == [True, False]
    assert 0 < case.plan.learning_rates[0] <= 0.2 and len(case.times) == 3


def test_fields_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "architecture.yaml"
    file.write_text("depth: 2\nactivation: relu\n")
    case = case_of("deep", file, kinked=False)
    assert case.schema.depth == 2 and not case.smooth  # type: ignore[attr-defined]
    file.write_text("kind: mlp\n")
    with pytest.raises(InputError, match="^architecture.kind: got 'mlp'; expected deep"):
        case_of("deep", file, kinked=False)
    file.write_text("dept: 2\n")
    with pytest.raises(InputError, match="^architecture.dept"):
        case_of("deep", file, kinked=False)
    with pytest.raises(InputError, match=r"^architecture.depth: got nothing; .*--architecture FILE"):
        case_of("deep", None, kinked=False)


def test_a_law_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with other input weights than the theory says."""
    actual, report = registry()._items["architecture"]["mlp"]

    def model(spec: Any, parameterization: Any, x: np.ndarray, outputs: int, width: int, key: Any) -> Any:
        network = actual.model(spec, parameterization, x, outputs, width, key)
        return replace(network, W=2 * network.W)

    monkeypatch.setitem(registry()._items["architecture"], "mlp", (replace(actual, model=model), report))
    done = CliRunner().invoke(app, ["check-plugin", "mlp", "--law", "calling", "--law", "draws"])
    assert done.exit_code == 1, done.output
    assert "architecture mlp breaks 1 of 2 laws: networks_of_draws_are_those_of_the_builder" in done.output
    assert "FAILS" in done.output and "holds" in done.output and "exceed their bound" in " ".join(done.output.split())


def test_what_is_compared_is_recorded() -> None:
    with recording() as actual:
        assert_equal("K", np.array([1.0, 2.0 + 1e-10]), np.array([1.0, 2.0]))
        assert_zero("f", Estimate(np.array([0.2, 0.1]), (np.array([0.01, 0.01]),), (1e9,)), 1.0)
        with pytest.raises(AssertionError):
            assert_zero("g", Estimate(np.array([0.5]), (np.array([0.01]),), (1e9,)), 1.0)
    assert [each.of for each in actual] == ["K", "f", "g"]
    np.testing.assert_allclose([each.share for each in actual], [0.05, 0.5, 1.25], rtol=1e-3)
    assert actual[1].words == "2.0 of 4 standard errors"
    assert_equal("nobody listens", 1.0, 1.0)  # type: ignore[arg-type]
