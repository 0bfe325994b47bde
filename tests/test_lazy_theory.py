"""A theory of another program, examples/lazy_theory.py, judged by an ensemble; one with a wrong kernel is found out."""

from __future__ import annotations

import runpy
from pathlib import Path

import fwdmft
from fwdmft.results.judging import compare
from fwdmft.results.write import open_result, write_result

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_a_closed_form_is_judged(tmp_path: Path) -> None:
    """Widths at which b/N is a small part of the standard error of 100 networks."""
    values = fwdmft.load_experiment(EXAMPLES / "lazy_ensemble.yaml").model_dump(mode="json")
    values["ensemble"] |= {"widths": [1024], "members": 100, "save_every": 5}
    run = fwdmft.run(fwdmft.load_experiment(values))
    source, target = write_result(run, tmp_path / "ensemble.nc"), tmp_path / "theory.nc"
    example = runpy.run_path(str(EXAMPLES / "lazy_theory.py"))

    def judged() -> dict[str, float]:
        example["main"](str(source), str(target))
        (pair,) = compare({"theory": open_result(target), "ensemble": open_result(source)}).judged
        (row,) = pair.rows
        assert row["quantity"] == "mean without b" and row["observable"] == "prediction"
        return row

    row = judged()
    assert row["max"] < 4 and row["control"] > 20
    right = example["kernel"]
    example["main"].__globals__["kernel"] = lambda x: 0.9 * right(x)
    assert judged()["rms"] > 4
