"""Data sets: every file format gives the same points, and bad data is refused with its place."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fwdmft.datasets import Dataset, check_targets, read_dataset
from fwdmft.errors import InputError
from fwdmft.experiment.loss import Logistic, SoftmaxCrossEntropy, SquaredError

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


def test_sequences(tmp_path: Path) -> None:
    x = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    array = xr.DataArray(x, dims=("point", "token", "feature")).transpose("feature", "point", "token")
    xr.Dataset({"x": array, "y": ("point", [1.0, 2.0])}).to_netcdf(tmp_path / "points.nc")
    for data in (read_dataset(tmp_path / "points.nc"), read_dataset(npz(tmp_path, x=x, y=Y[:2]))):
        np.testing.assert_array_equal(data.x, x)
        np.testing.assert_array_equal(data.flattened().x, x.reshape(2, 12))


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
        ("x0,y0\n1,2\n1\n", "expected 2 cells in line 3, as the header has; it has 1"),
        ("x0,y0\n1,2\n\n1,2,3\n", "expected 2 cells in line 4, as the header has; it has 3"),
        ("x0,x0,y0\n1,2,3\n", "expected columns x0.., y0.. and split, each once; it has x0, x0, y0"),
        ("x0,y0,Split\n1,2,test\n", "expected columns x0.., y0.. and split, each once; it has x0, y0, Split"),
        ("x0,y0\n1,0\n2,1\n3,2\n4,1\n", "data.y: got whole numbers 0 to 2; expected one-hot rows of 3 outputs"),
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


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = "\ufeffx0,x1,x2,y0,split \r\n1,2,3,1,train\r\n4,5,6,-1,train\r\n\r\n7,8,9,0.5,test\r\n"
    assert_is_the_example(read_dataset(csv(tmp_path, text)))


@pytest.mark.parametrize("y", [[0, 1, 2, 1], [0.0, 1.0, 2.0, 1.0], [0, 1, 1, 0], [2, 3, 4, 3], [-1, 0, 1, 1]])
def test_labels_are_whole_numbers_from_0_on(tmp_path: Path, y: list[float]) -> None:
    """Not real numbers, not two values, not other whole numbers: those are targets of a regression."""
    path = npz(tmp_path, x=np.eye(4), y=np.array(y))
    if y == [0, 1, 2, 1] and isinstance(y[0], int):
        assert "data.y: got whole numbers 0 to 2; expected one-hot rows" in refusal(path)
    else:
        assert read_dataset(path).y[:, 0].tolist() == y


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": X + 1j}, "data.x: got entries of type complex128; expected real numbers"),
        ({"y": Y.astype("datetime64[s]")}, "data.y: got entries of type datetime64[s]; expected real numbers"),
        ({"y": Y.astype(str)}, "data.y: got entries of type <U32; expected real numbers"),
        ({"x": np.zeros(3, [("a", float)])}, "expected real numbers"),
        ({"x": np.float64(2.0)}, "data.x: got 2.0; expected an array whose first axis is that of points"),
        ({"train": 2.7}, "data.train: got 2.7; expected a number of leading training rows, a whole number from 0 to 3"),
        ({"train": True}, "data.train: got True; expected a number of leading"),
        ({"train": [1, 2]}, "data.train: got [1, 2]; expected a number of leading"),
        ({"split": ["train"] * 3}, "expected an array train beside split, or arrays x and y alone"),
        (
            {"x": 1e200 * X},
            "data.x: got numbers as large as 9e+200; expected numbers of which the largest is from 1e-15",
        ),
        ({"y": 1e-200 * Y}, "data.y: got numbers as large as 1e-200"),
    ],
)
def test_npz_that_would_be_misread(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    assert expected in refusal(npz(tmp_path, **({"x": X, "y": Y} | changes)))


def test_units_of_time_are_only_units(tmp_path: Path) -> None:
    """Numbers of days are numbers, which xarray would make dates and durations of."""
    for units in ("days since 2000-01-01", "days"):
        file = xr.Dataset(
            {"x": (("point", "feature"), X), "y": ("point", Y[:, 0], {"units": units})},
            {"split": ("point", ["train", "train", "test"])},
        )
        file.to_netcdf(tmp_path / "points.nc")
        assert_is_the_example(read_dataset(tmp_path / "points.nc"))


def test_arrays_of_plugins_are_not_converted_silently() -> None:
    with pytest.raises(InputError, match="data.x: got masked entries; expected a number in every entry"):
        Dataset(np.ma.masked_greater(X, 8.5), Y, np.ones(3, bool))
    with pytest.raises(InputError, match="data.train: got int64 entries; expected true or false for every point"):
        Dataset(X, Y, np.array([0, 1, 2]))


def test_bad_npz(tmp_path: Path) -> None:
    assert "an array y; it has x" in refusal(npz(tmp_path, x=X))
    assert "data.y: got 2 rows; expected as many as x has (3)" in refusal(npz(tmp_path, x=X, y=Y[:2]))
    assert "data.train: got 4; expected a number of leading" in refusal(npz(tmp_path, x=X, y=Y, train=4))
    assert "data.train: got 0; expected at least one" in refusal(npz(tmp_path, x=X, y=Y, train=0))
    assert "data.x: got (3,); expected dimensions (point, feature)" in refusal(npz(tmp_path, x=X[:, 0], y=Y))
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
    for name in ("a" * 300 + ".csv", "a\0.csv", "a" * 5000 + ".nc"):
        assert "expected an existing file" in refusal(tmp_path / name)
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
    with pytest.raises(
        InputError, match="data.y: got 1 output; expected two or more outputs .* labels become one-hot rows"
    ):
        check_targets(SoftmaxCrossEntropy(), Y)
    for row in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(InputError, match="rows of nonnegative numbers that sum to 1"):
            check_targets(SoftmaxCrossEntropy(), np.array([row]))
