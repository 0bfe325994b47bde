"""CIFAR-10: both formats give the same images, and a damaged, altered or dangerous file is refused."""

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwdmft.datasets import Dataset, cifar_archive
from fwdmft.datasets.pickled_arrays import load_pickled_arrays
from fwdmft.errors import InputError
from fwdmft.experiment.images import CIFAR10_CLASSES, Cifar10Data

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
ROWS = 20
Batches = dict[str, tuple[np.ndarray, np.ndarray]]
Writer = Callable[[Path, Batches], Path]


@pytest.fixture
def batches() -> Batches:
    """Random images (20, 32, 32, 3) with labels 0 to 9 twice each, by name of the batch."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (ROWS, 32, 32, 3), np.uint8), rng.permutation(np.arange(ROWS) % 10))
        for name in NAMES
    }


def rows(images: np.ndarray) -> np.ndarray:
    """Channel by channel, as the files have them."""
    return np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])


def pickled(images: np.ndarray, labels: np.ndarray) -> bytes:
    """With the keys and the protocol of the official files."""
    batch = {b"batch_label": b"made up", b"labels": labels.tolist(), b"data": rows(images), b"filenames": []}
    return pickle.dumps(batch, protocol=2)


def pickled_by_python_2(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Byte for byte what Python 2 and its numpy wrote: text is bytes, flags of the data type are integers."""
    data = rows(images)
    shape = f"I{data.shape[0]}\nI{data.shape[1]}\nt".encode()
    kind = b"cnumpy\ndtype\n(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntb"
    raw = b"T" + data.size.to_bytes(4, "little") + data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(" + shape + kind
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"I00\n" + raw + b"tbU\x06labels" + numbers + b"u."


def binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    return np.concatenate([labels[:, None].astype(np.uint8), rows(images)], axis=1).tobytes()


def write(folder: Path, batches: Batches, suffix: str, packed: Callable[[np.ndarray, np.ndarray], bytes]) -> Path:
    folder.mkdir()
    for name, batch in batches.items():
        (folder / f"{name}{suffix}").write_bytes(packed(*batch))
    return folder


def python_format(parent: Path, batches: Batches) -> Path:
    return write(parent / "cifar-10-batches-py", batches, "", pickled)


def python_2_format(parent: Path, batches: Batches) -> Path:
    return write(parent / "cifar-10-batches-py", batches, "", pickled_by_python_2)


def binary_format(parent: Path, batches: Batches) -> Path:
    return write(parent / "cifar-10-batches-bin", batches, ".bin", binary)


def compressed(folder: Path, name: str) -> Path:
    path = folder.parent / name
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def load(path: Path, **fields: Any) -> Dataset:
    return Cifar10Data(path=path.name, **fields).load(path.parent)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load(path)
    assert error.value.field == "data.path"
    return str(error.value)


@pytest.mark.parametrize("writer", [python_format, python_2_format, binary_format])
@pytest.mark.filterwarnings("error")
def test_formats_and_places(tmp_path: Path, batches: Batches, writer: Writer) -> None:
    """All images, by class, whichever of the folder, its parent and the packed folder is named."""
    folder = writer(tmp_path, batches)
    places = folder, tmp_path, compressed(folder, "mine.tar.gz")
    for data in [load(place, train=None, test=None, standardize=False, targets="labels") for place in places]:
        assert data.x.shape == (6 * ROWS, 32, 32, 3)
        assert (data.n_train, data.attributes["classes"]) == (5 * ROWS, ", ".join(CIFAR10_CLASSES))
        assert "(not of official size)" in str(data.attributes["source"])
        for names, trained in ((NAMES[:5], True), (NAMES[5:], False)):
            actual = {(255 * x).round().astype(np.uint8).tobytes(): y for x, y in _points(data, trained)}
            expected = {x.tobytes(): y for name in names for x, y in zip(*batches[name], strict=True)}
            assert actual == expected


def _points(data: Dataset, trained: bool) -> zip:
    chosen = data.train == trained
    return zip(data.x[chosen], data.y[chosen, 0], strict=True)


def test_classes_by_number_or_name(tmp_path: Path, batches: Batches) -> None:
    folder = binary_format(tmp_path, batches)
    data = load(folder, classes=("dog", 3), train=9, test=4)
    assert data.y[:, 0].tolist() == [-1.0] * 5 + [1.0] * 4 + [-1.0] * 2 + [1.0] * 2
    assert data.attributes["classes"] == "dog, cat"
    np.testing.assert_allclose((data.x**2).sum(axis=(1, 2, 3)), 32 * 32 * 3)
    assert load(folder).y.shape == (48, 10)
    with pytest.raises(InputError, match=r"data.train: got 101; expected at most 10 training images of airplane \(11"):
        load(folder, train=101)
    with pytest.raises(ValueError, match="distinct classes"):
        load(folder, classes=("cat", 3))


def test_missing(tmp_path: Path, batches: Batches) -> None:
    assert "expected an existing folder or .tar.gz file" in refusal(tmp_path / "nowhere")
    assert "expected a folder with the files data_batch_1, data_batch_2" in refusal(tmp_path)
    folder = binary_format(tmp_path, batches)
    (folder / "data_batch_3.bin").unlink()
    (folder / "test_batch.bin").unlink()
    expected = "all six batches of CIFAR-10; data_batch_3.bin, test_batch.bin missing"
    assert expected in refusal(folder)
    assert expected in refusal(compressed(folder, "mine.tar.gz"))


@pytest.mark.parametrize("writer", [python_format, binary_format])
def test_truncated(tmp_path: Path, batches: Batches, writer: Writer) -> None:
    folder = writer(tmp_path, batches)
    archive = compressed(folder, "mine.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-5000])
    assert "a readable .tar.gz file" in refusal(archive) and "truncated or damaged" in refusal(archive)
    victim = sorted(folder.iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:-100])
    assert f"{victim.name}'; expected a CIFAR-10 batch" in refusal(folder)
    assert "truncated" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({b"data": np.zeros((2, 3072), np.uint8)}, "no entry labels"),
        ({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}, "data of type float64 and shape (2, 3072), not uint8"),
        ({"data": np.zeros((2, 99), np.uint8), "labels": [0, 1]}, "shape (2, 99), not uint8 (n, 3072)"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "shape (1,), not 2 whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, "labels 0 to 9; row 1 has 10"),
        ([1, 2], "a pickled list, not a dictionary"),
        ({"data": print, "labels": [0]}, "it asks for __builtin__.print, which no array needs"),
    ],
)
def test_something_else(tmp_path: Path, batches: Batches, content: object, expected: str) -> None:
    folder = python_format(tmp_path, batches)
    (folder / "data_batch_2").write_bytes(pickle.dumps(content, protocol=2))
    assert expected in refusal(folder)


class Harmful:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_cannot_run_code(tmp_path: Path, batches: Batches) -> None:
    folder = python_format(tmp_path, batches)
    mark = tmp_path / "ran"
    (folder / "test_batch").write_bytes(pickle.dumps(Harmful(mark)))
    assert "which no array needs" in refusal(folder)
    assert not mark.exists()


NUMBERS = np.arange(6).reshape(2, 3)
DTYPE, ARRAY, OBJECTS = b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"
STRUCTURE = DTYPE + b"(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt(dS'a'\n" + OBJECTS + b"sI8\nI1\nI0\ntb"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", [NUMBERS, NUMBERS.T, NUMBERS[:, ::2], NUMBERS.astype(">f8"), np.uint8(7), np.True_])
def test_arrays_survive(array: np.ndarray, protocol: int) -> None:
    np.testing.assert_array_equal(np.asarray(load_pickled_arrays(pickle.dumps(array, protocol))), array)


@pytest.mark.parametrize(
    ("forged", "expected"),
    [
        (b"(dS'data'\nI0\nsS'labels'\n(l" + ARRAY + b"((I1\ntS'O'\nS'AAAAAAAA'\ntRas.", "makes an array by hand"),
        (ARRAY + b"((I1\nt" + OBJECTS + b"S'AAAAAAAA'\ntR.", "makes an array by hand"),
        (b"cnumpy.core.multiarray\nscalar\n(" + OBJECTS + b"S'AAAAAAAA'\ntR.", "type object, not of numbers"),
        (b"cnumpy.core.numeric\n_frombuffer\n(S'AAAAAAAA'\n" + OBJECTS + b"(I1\ntS'C'\ntR.", "not of numbers"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n("
            + ARRAY
            + b"(I0\ntS'b'\ntR(I1\n(I1\nt"
            + OBJECTS
            + b"I00\nS'AAAAAAAA'\ntb.",
            "type object, not of numbers",
        ),
        (STRUCTURE + b".", "an array of structures"),
        (DTYPE + b"}S'_function'\nNsb.", "it changes a function"),
        (b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR.", "text in the code"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "remembers an object as number 2147483647"),
        (pickle.dumps(np.array([None])), "an array in an unknown format"),
        (pickle.dumps(np.zeros(2, [("a", "i4")])), "an array of structures"),
        (pickle.dumps(np.array(["a"])), "type <U1, not of numbers"),
    ],
)
def test_forged_arrays_are_never_made(forged: bytes, expected: str) -> None:
    """numpy's own helpers would follow the bytes of the file as addresses of objects."""
    with pytest.raises((pickle.UnpicklingError, ValueError)) as error:
        load_pickled_arrays(forged)
    assert expected in str(error.value)


def test_archives_do_not_unpack_without_end(tmp_path: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = binary_format(tmp_path, batches)
    monkeypatch.setattr(cifar_archive, "LARGEST_BATCH", 1000)
    assert "a CIFAR-10 batch of at most 1000 bytes" in refusal(folder)
    assert "it holds more than CIFAR-10 does" in refusal(compressed(folder, "mine.tar.gz"))
    assert "an existing folder or .tar.gz" in refusal(tmp_path / ("a" * 300))


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Let batches of this test's size, with these checksums, be the official ones."""

    def declare(md5: dict[str, str]) -> None:
        monkeypatch.setattr(cifar_archive, "OFFICIAL_ROWS", ROWS)
        monkeypatch.setattr(cifar_archive, "MD5", md5)

    return declare


def test_official_python_files_are_checked(tmp_path: Path, batches: Batches, official: Callable[..., None]) -> None:
    folder = python_format(tmp_path, batches)
    official(checksums(folder))
    assert "(official checksums)" in str(load(folder).attributes["source"])
    victim = folder / "data_batch_4"
    content = bytearray(victim.read_bytes())
    content[5000] ^= 1  # one bit of one pixel
    victim.write_bytes(content)
    assert "data_batch_4'; expected the official file, MD5" in refusal(folder)
    assert "damaged or altered" in refusal(folder)
    images, labels = batches["data_batch_4"]
    victim.write_bytes(pickled(images[:-1], labels[:-1]))
    assert f"expected {ROWS} rows, as in other batches; it has {ROWS - 1} and is truncated" in refusal(folder)


def test_official_binary_files_are_checked(tmp_path: Path, batches: Batches, official: Callable[..., None]) -> None:
    folder = binary_format(tmp_path, batches)
    archive = compressed(folder, "cifar-10-binary.tar.gz")
    official({archive.name: hashlib.md5(archive.read_bytes()).hexdigest()})
    assert "(official checksums)" in str(load(archive).attributes["source"])
    assert "(official sizes and class counts)" in str(load(folder).attributes["source"])
    official({archive.name: "0" * 32})
    assert "cifar-10-binary.tar.gz'; expected the official file, MD5 000" in refusal(archive)
    images, labels = batches["test_batch"]
    (folder / "test_batch.bin").write_bytes(binary(images, np.where(labels == 3, 4, labels)))
    assert "with as many test images of each class; it has been altered" in refusal(folder)


def test_real_checksums_are_used(tmp_path: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of official size that are not the official ones are refused by the published checksum."""
    monkeypatch.setattr(cifar_archive, "OFFICIAL_ROWS", ROWS)
    assert "MD5 c99cafc152244af753f735de768cd75f; this one" in refusal(python_format(tmp_path, batches))
