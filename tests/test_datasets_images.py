"""Labelled images: which are chosen, standardisation and its record, targets, and rows for dense networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from experiments import experiment, message
from result_stand_ins import architecture, plugins
from result_stand_ins import experiment as stand_in
from sklearn.datasets import load_digits, load_sample_images
from typer.testing import CliRunner

import fwdmft
from fwdmft import Architecture
from fwdmft.cli import app
from fwdmft.datasets import Dataset
from fwdmft.datasets.loading import load_points
from fwdmft.datasets.standardize import PROCEDURE
from fwdmft.errors import InputError
from fwdmft.experiment.images import DigitsData, PhotoPatchesData
from fwdmft.registry import registry
from fwdmft.results.build import result_tree
from fwdmft.testing.agreement import ROUNDING


def digits(**fields: Any) -> Dataset:
    return DigitsData(**fields).load(Path())


def patches(**fields: Any) -> Dataset:
    return PhotoPatchesData(**fields).load(Path())


def load(**changes: Any) -> Dataset:
    return load_points(fwdmft.load_experiment(experiment(**changes)))


def test_digits_are_standardised_and_balanced() -> None:
    data = digits(classes=(3, 8), train=11, test=4)
    assert data.x.shape == (15, 8, 8, 1)
    assert data.train.tolist() == [True] * 11 + [False] * 4
    np.testing.assert_allclose((data.x**2).sum(axis=(1, 2, 3)), 64.0)
    assert data.y[:, 0].tolist() == [-1.0] * 6 + [1.0] * 5 + [-1.0] * 2 + [1.0] * 2


def test_digits_are_different_images_of_their_class() -> None:
    data = digits(classes=(3, 8), train=11, test=4, standardize=False, targets="labels")
    assert len(np.unique(data.flattened().x, axis=0)) == 15
    bundled = load_digits()
    for image, label in zip(data.x[..., 0], data.y[:, 0], strict=True):
        assert label in bundled.target[(bundled.images == image).all(axis=(1, 2))]


@pytest.mark.parametrize("data", [digits(train=6, test=4), patches(train=6, test=4, size=4)], ids=["digits", "patches"])
def test_standardisation_is_on_record(data: Dataset) -> None:
    """The record gives back the original points, whose training mean it removed and not that of all points."""
    done = data.standardization
    assert done is not None and "x_mean" in done.procedure
    original = data.x * done.scale[:, None, None, None] + done.mean
    np.testing.assert_allclose(done.mean, original[:6].mean(axis=0), atol=ROUNDING)
    lowest = 16.0 if data.x.shape[-1] == 1 else 1.0
    np.testing.assert_allclose(np.clip(original, 0, lowest), original, atol=ROUNDING)
    flat = data.flattened().standardization
    assert flat is not None and flat.mean.shape == (data.x[0].size,)


def test_standardisation_is_in_the_result() -> None:
    raw = digits(standardize=False)
    for data, plain, dims in (
        (digits(), raw, ("height", "width", "channel")),
        (digits().flattened(), raw.flattened(), ("feature",)),
    ):
        cnn = architecture(axes=dims)
        actual = result_tree(stand_in(), data, None, None, [], {}, plugins(), cnn)["data"]
        assert (actual["x_mean"].dims, actual["x_scale"].dims) == (dims, ("point",))
        original = actual["x"] * actual["x_scale"] + actual["x_mean"]
        np.testing.assert_allclose(original.transpose("point", *dims), plain.x, atol=ROUNDING)
        assert actual.attrs["standardization"] == PROCEDURE


def test_digits_removes_the_mean_of_the_training_images_only() -> None:
    raw, centred = (digits(train=6, test=4, standardize=flag).flattened().x for flag in (False, True))
    directions = raw - raw[:6].mean(axis=0)
    cosine = (directions * centred).sum(axis=1) / np.linalg.norm(directions, axis=1) / 8.0
    np.testing.assert_allclose(cosine, 1.0)


@pytest.mark.parametrize("side", [4, 2])
def test_resolution_averages_blocks_before_standardisation(side: int) -> None:
    fine, coarse = (digits(standardize=False, resolution=one).x for one in (8, side))
    assert coarse.shape == (48, side, side, 1)
    block = 8 // side
    corner = fine[:, block : 2 * block, :block].mean(axis=(1, 2))
    np.testing.assert_allclose(coarse[:, 1, 0], corner)
    np.testing.assert_allclose((digits(resolution=side).x ** 2).sum(axis=(1, 2, 3)), side**2)


def test_targets_and_seed() -> None:
    one_hot = digits(classes=(0, 4, 7), train=6, test=0, targets="one_hot").y
    np.testing.assert_array_equal(one_hot, np.repeat(np.eye(3), 2, axis=0))
    centred = digits(classes=(0, 4, 7), train=6, test=0)
    np.testing.assert_allclose(centred.y, one_hot - 1 / 3)
    assert (centred.attributes["targets"], centred.attributes["classes"]) == ("centered", "0, 4, 7")
    labels = digits(classes=(7, 4, 0), train=6, test=0, targets="labels").y
    np.testing.assert_array_equal(labels, [[7], [7], [4], [4], [0], [0]])
    for load_images in (digits, patches):
        first, same, other = (load_images(seed=seed).x for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, other)


def test_digits_refuses_what_it_cannot_give() -> None:
    with pytest.raises(InputError, match=r"data.train: got 1000; expected at most 178 images of digit 0 \(500"):
        digits(train=1000)
    with pytest.raises(InputError, match=r"data.test: got 20; expected at most 3 images of digit 0 \(10 asked"):
        digits(train=350, test=20)
    with pytest.raises(InputError, match="data.standardize: got True; expected no image equal"):
        digits(train=1, test=0)
    assert message(data={"kind": "digits", "resolution": 3}) == "data.resolution: got 3; expected 8, 4 or 2"
    text = message(data={"kind": "photo_patches", "targets": "signs"})
    assert text.startswith("data.targets: got 'signs'; expected 'auto', 'sign', 'centered', 'one_hot' or 'labels'")


def test_patches_are_tiles_of_their_photograph_and_half() -> None:
    """Every patch is found once, at a place of the grid: training patches left of the middle, test patches right."""
    data = patches(train=24, test=18, standardize=False, targets="labels", size=40)
    assert data.x.shape == (42, 40, 40, 3)
    photographs = load_sample_images().images
    covered = [np.zeros(photograph.shape[:2], int) for photograph in photographs]
    for patch, label, trained in zip(data.x * 255, data.y[:, 0].astype(int), data.train, strict=True):
        corners = [(row, column) for row in range(0, 400, 40) for column in range(0, 640, 40)]
        actual = [at for at in corners if _at(photographs[label], at, 40, patch)]
        assert len(actual) == 1
        row, column = actual[0]
        assert (column + 40 <= 320) if trained else (column >= 320)
        covered[label][row : row + 40, column : column + 40] += 1
    assert all(each.max() == 1 and each.sum() == 21 * 1600 for each in covered)


def _at(photograph: np.ndarray, corner: tuple[int, int], size: int, patch: np.ndarray) -> bool:
    row, column = corner
    return np.allclose(photograph[row : row + size, column : column + size], patch)


def test_patches_of_a_size_of_which_there_are_few() -> None:
    assert patches(size=160, train=8, test=8).x.shape == (16, 160, 160, 3)
    with pytest.raises(InputError, match=r"data.test: got 9; expected at most 4 test patches of photograph china \(5"):
        patches(size=160, train=8, test=9)
    with pytest.raises(InputError, match="data.train: got 40; expected at most 0 training patches"):
        patches(size=321)


def test_dense_architectures_get_rows_and_images_stay_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load().x.shape == (6, 64)
    assert load(data={"kind": "photo_patches", "size": 4}).x.shape == (48, 48)
    mlp = registry().get("architecture", "mlp")
    images = Architecture(mlp.spec, mlp.field_equations, mlp.model, axes=("height", "width", "channel"))
    monkeypatch.setitem(registry()._items["architecture"], "mlp", (images, registry().provider("architecture", "mlp")))
    assert load().x.shape == (6, 8, 8, 1)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment(data={"kind": "gaussian", "features": 3})))
    result = CliRunner().invoke(app, ["validate", str(path)])
    assert result.exit_code == 2
    expected = "data.x: got (48, 3); expected 4 dimensions (point, height, width, channel) for architecture mlp\n"
    assert result.stderr == expected
