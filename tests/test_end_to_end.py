"""The command line with the real engine, on the smallest example at toy size."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
import yaml
from experiments import experiment
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.engine import step_halving

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


CIFAR10 = EXAMPLES / "cifar10_width.yaml"
"""Its data are not in the repository, see below."""


@pytest.mark.parametrize("path", sorted(set(EXAMPLES.glob("*.yaml")) - {CIFAR10}), ids=lambda path: path.stem)
def test_examples_are_valid(path: Path) -> None:
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert result.exit_code == 0, result.output


def test_cifar10_at_toy_size(tmp_path: Path) -> None:
    """From a generated archive to the statistics of a task: five convolutions, minibatches, some epochs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        labels = np.arange(10, dtype=np.uint8)
        rows = np.concatenate([labels[:, None], rng.integers(0, 256, (10, 3072), dtype=np.uint8)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    mapping = yaml.safe_load(CIFAR10.read_text())
    mapping["data"]["path"] = str(folder)
    mapping["optimizer"] |= {"epochs": 2, "batch": {"size": 25}}
    mapping["ensemble"] |= {"widths": [2, 4], "members": 3, "save_every": 1, "kernel_points": 2}
    path, output = tmp_path / "toy.yaml", tmp_path / "result.nc"
    path.write_text(yaml.safe_dump(mapping))
    result = CliRunner().invoke(app, ["run", str(path), "-o", str(output)])
    assert result.exit_code == 0, result.output
    with xr.open_datatree(output) as tree:
        ensemble = tree["ensemble"]
        assert ensemble["time"].values.tolist() == [0, 1, 2, 3]
        assert ensemble["final_prediction_mean"].sizes == {"width": 2, "point": 60, "output": 10}
        assert ((ensemble["accuracy_mean"] >= 0) & (ensemble["accuracy_mean"] <= 1)).all()
        change = ensemble["loss_mean"].sel(split="train")
        assert (change[:, -1] < change[:, 0]).all(), "the loss on the training set does not fall"


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


def test_networks_without_kernels_keep_their_last_predictions(toy: Path, tmp_path: Path) -> None:
    """Nothing is left of what theory and networks could be compared in over time."""
    mapping, output = yaml.safe_load(toy.read_text()), tmp_path / "result.nc"
    mapping["theory"] |= {"fluctuations": False, "bias": False}
    mapping["ensemble"] |= {"kernels": False, "predictions": "last"}
    path = tmp_path / "last.yaml"
    path.write_text(yaml.safe_dump(mapping))
    for command in (["run", str(path), "-o", str(output)], ["show", str(output)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    with xr.open_datatree(output) as tree:
        assert "final_prediction_mean" in tree["ensemble"] and "prediction_mean" not in tree["ensemble"]
    drawn = CliRunner().invoke(app, ["plot", str(output), "-o", str(tmp_path / "figures")])
    assert drawn.exit_code == 0 and list((tmp_path / "figures").glob("*.png")), drawn.output


def test_memory_is_foreseen(toy: Path, tmp_path: Path) -> None:
    """A run that cannot fit is refused before it starts, naming estimate and remedy, and nothing is written."""
    mapping = yaml.safe_load(toy.read_text())
    mapping["theory"] = {"neurons": 2**32 - 1}
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
    with jax.debug_nans(True):  # losses over no points are NaN, which is no mistake
        tree = fwdmft.run(fwdmft.load_experiment(toy))
    assert jax.config.jax_enable_x64 == before
    assert tree["theory"]["prediction"].dtype == np.float64


def test_steps_of_gradient_flow_are_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The theory finds them, and networks take the same."""
    passes, once = [], step_halving._predictions

    def counted(*given: Any) -> Any:
        passes.append(given)
        return once(*given)

    flow = {"kind": "gradient_flow", "learning_rate": 0.02, "steps": 3, "tolerance": 1e-3}
    theory = {"neurons": 32, "replicates": 2, "fluctuations": False, "bias": False}
    both = experiment(optimizer=flow, theory=theory, ensemble={"widths": [4], "members": 2})
    monkeypatch.setattr(step_halving, "_predictions", counted)
    counts = []
    for halves in (both, {name: section for name, section in both.items() if name != "ensemble"}):
        passes.clear()
        fwdmft.run(fwdmft.load_experiment(halves))
        counts.append(len(passes))
    assert counts[0] == counts[1] > 2
