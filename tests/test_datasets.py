"""Data sets: every file format gives the same points, and bad data is refused with its place."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fwdmft.datasets import Dataset, check_targets, read_dataset
from fwdmft.errors import InputError
from fwdmft.spec.loss import Logistic, SoftmaxCrossEntropy, SquaredError

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
Y = np.array([[1.0], [-1.0], [0.5]])


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_dataset(path)
    return str(error.value)


def csv(path: Path, text: str) -> Path:
    path = path / "points.csv"
    path.write_text(text)
    return path


def npz(path: Path, **arrays: object) -> Path:
    path = path / "points.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def assert_is_the_example(data: Dataset) -> None:
    np.testing.assert_array_equal(data.x, X)
    np.testing.assert_array_equal(data.y, Y)
    assert data.train.tolist() == [True, True, False]
    assert (data.x.dtype, data.y.dtype, data.train.dtype) == (np.float64, np.float64, bool)


@pytest.mark.parametrize("transposed", [False, True])
def test_netcdf(tmp_path: Path, transposed: bool) -> None:
    file = xr.Dataset(
        {"x": (("point", "feature"), X), "y": (("point", "output"), Y)},
        {"split": ("point", ["train", "train", "test"])},
    )
    (file.transpose() if transposed else file).to_netcdf(tmp_path / "points.nc")
    assert_is_the_example(read_dataset(tmp_path / "points.nc"))


def test_netcdf_images_by_name(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4 * 1.0).reshape(2, 3, 4, 1)
    x = xr.DataArray(images, dims=("point", "height", "width", "channel"))
    file = xr.Dataset({"x": x.transpose("channel", "width", "point", "height"), "y": ("point", [1.0, 2.0])})
    file.to_netcdf(tmp_path / "points.nc")
    data = read_dataset(tmp_path / "points.nc")
    np.testing.assert_array_equal(data.x, images)
    assert data.y.shape == (2, 1)
    assert data.n_train == 2


def test_npz(tmp_path: Path) -> None:
    assert_is_the_example(read_dataset(npz(tmp_path, x=X, y=Y[:, 0], train=2)))
    assert read_dataset(npz(tmp_path, x=X, y=Y)).n_train == 3


def test_csv_with_columns_in_any_order(tmp_path: Path) -> None:
    text = "split, y0, x1, x0, x2\ntrain, 1, 2, 1, 3\ntrain, -1, 5, 4, 6\ntest, 0.5, 8, 7, 9\n"
    assert_is_the_example(read_dataset(csv(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x0,x2,y0\n1,2,3\n", "columns x0, x1, ... without gaps; it has x0, x2, y0"),
        ("x0,x1\n1,2\n", "columns y0, y1, ... without gaps; it has x0, x1"),
        ("x0,y0\n1,2\none,2\n", "data.x: got 'one'; expected a number in column x0, line 3"),
        ("x0,y0\n1,2\n1\n", "data.y: got None; expected a number in column y0, line 3"),
        ("x0,y0,split\n1,2,valid\n", "data.split: got 'valid'; expected train or test for every point"),
        (
            "x0,y0,split\n1,2,test\n",
            "data.train: got 0; expected at least one training point among the 1 points",
        ),
        ("x0,y0\n", "data.x: got (0, 1); expected at least one number"),
        ("", "without gaps; it has "),
        (
            "x0,y0\n1,2\nnan,2\n1,inf\ninf,3\n",
            "data.x: got 2 of 4 numbers not finite, the first (nan) at [1, 0]; expected finite numbers",
        ),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(csv(tmp_path, text))


def test_bad_npz(tmp_path: Path) -> None:
    assert "an array y; it has x" in refusal(npz(tmp_path, x=X))
    assert "data.y: got 2 rows; expected as many as x has (3)" in refusal(npz(tmp_path, x=X, y=Y[:2]))
    assert "data.train: got 4; expected a number of leading" in refusal(npz(tmp_path, x=X, y=Y, train=4))
    assert "data.train: got 0; expected at least one" in refusal(npz(tmp_path, x=X, y=Y, train=0))
    assert "data.x: got (3,); expected two dimensions" in refusal(npz(tmp_path, x=X[:, 0], y=Y))
    assert "data.y: got (3, 1, 1); expected one or two" in refusal(npz(tmp_path, x=X, y=Y[:, None]))
    y = Y.copy()
    y[1, 0] = np.nan
    assert "data.y: got 1 of 3 numbers not finite, the first (nan) at [1, 0]" in refusal(npz(tmp_path, x=X, y=y))


def test_bad_netcdf(tmp_path: Path) -> None:
    path = tmp_path / "points.nc"
    xr.Dataset({"x": (("point", "feature"), X)}).to_netcdf(path)
    assert "a variable y; it has x" in refusal(path)
    xr.Dataset({"x": (("a", "b"), X), "y": (("point", "output"), Y)}).to_netcdf(path)
    assert "data.x: got ('a', 'b'); expected a dimension called point" in refusal(path)


def test_missing_unknown_and_unreadable_files(tmp_path: Path) -> None:
    assert "expected an existing file" in refusal(tmp_path / "none.nc")
    assert "expected a file ending in .nc, .nc4, .npz, .csv" in refusal(tmp_path / "points.txt")
    for suffix in (".nc", ".npz"):
        path = tmp_path / f"torn{suffix}"
        path.write_bytes(b"not what the suffix says")
        assert f"data.path: got '{path}'; expected a readable {suffix} file" in refusal(path)


def test_targets_must_suit_the_loss() -> None:
    check_targets(SquaredError(), Y)
    check_targets(Logistic(), np.array([[1.0], [-1.0]]))
    check_targets(SoftmaxCrossEntropy(), np.array([[0.25, 0.75], [1.0, 0.0]]))
    with pytest.raises(InputError, match=r"data.y: got \[0.5\] at point 2 \(1 such points\); expected \+1 or -1"):
        check_targets(Logistic(), Y)
    with pytest.raises(InputError, match="data.y: got '1 output'; expected two or more outputs"):
        check_targets(SoftmaxCrossEntropy(), Y)
    for row in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(InputError, match="rows of nonnegative numbers that sum to 1"):
            check_targets(SoftmaxCrossEntropy(), np.array([row]))
