"""The command line with the real engine, on the smallest example at toy size."""

from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two-point example with few neurons and networks."""
    folder = tmp_path_factory.mktemp("toy")
    mapping = yaml.safe_load((EXAMPLES / "two_layer_tanh.yaml").read_text())
    mapping["theory"] = {"neurons": 256, "replicates": 2, "save_every": 20}
    mapping["ensemble"] = {"widths": [8, 16], "members": 6}
    mapping["data"]["path"] = str(EXAMPLES / mapping["data"]["path"])
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert result.exit_code == 0, result.output


def test_run_show_plot(toy: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.nc"
    for command in (["run", str(toy), "-o", str(output)], ["show", str(output)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "averaged predictor" in result.output
    with xr.open_datatree(output) as tree:
        assert tree["theory"]["time"].values.tolist() == [0, 20, 40, 59]
        assert tree["ensemble"]["prediction_mean"].sizes["width"] == 2
        assert all(np.isfinite(v).all() for v in tree["theory"].data_vars.values() if v.dtype.kind == "f")
        assert {v.dtype for v in tree["theory"].data_vars.values()} == {np.dtype("float64")}
    result = CliRunner().invoke(app, ["plot", str(output), "-o", str(tmp_path / "figures")])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "figures").glob("*.png"))) == 11


def test_memory_is_foreseen(toy: Path, tmp_path: Path) -> None:
    """A run that cannot fit is refused before it starts, naming estimate and remedy, and nothing is written."""
    mapping = yaml.safe_load(toy.read_text())
    mapping["theory"] = {"neurons": 2**36}
    huge = tmp_path / "huge.yaml"
    huge.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(app, ["run", str(huge), "-o", str(tmp_path / "r.nc")])
    assert result.exit_code == 2
    assert "memory: got 'an estimated" in result.output and "theory.save_every" in result.output
    assert not (tmp_path / "r.nc").exists()


def test_diverging_training_fails(toy: Path, tmp_path: Path) -> None:
    mapping = yaml.safe_load(toy.read_text())
    mapping["architecture"]["activation"] = "linear"
    mapping["optimizer"]["learning_rate"] = 100.0
    path = tmp_path / "diverging.yaml"
    path.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(app, ["run", str(path), "-o", str(tmp_path / "r.nc")])
    assert result.exit_code == 1
    assert "diverged" in result.output and "Traceback" not in result.output
    assert list(tmp_path.glob("*.nc")) == []


def test_jax_settings_are_left_alone(toy: Path) -> None:
    before = jax.config.jax_enable_x64
    tree = fwdmft.run(fwdmft.load_experiment(toy))
    assert jax.config.jax_enable_x64 == before
    assert tree["theory"]["prediction"].dtype == np.float64
