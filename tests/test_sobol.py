"""Normal numbers from Sobol points: the same whether they are drawn or kept from an earlier command."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from fwdmft.engine import sobol
from fwdmft.engine.sobol import KEPT, sobol_normal

SET = 64, 3, (0, 1, 2)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def never(*_: object) -> np.ndarray:
    raise AssertionError("drawn again")


def test_kept_numbers_are_those_that_are_drawn(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found again without SciPy's statistics; another set is another one."""
    drawn = sobol_normal(*SET)
    assert len(list(place.iterdir())) == 1
    others = [sobol_normal(*other) for other in ((64, 3, (0, 1, 3)), (64, 2, SET[2]), (32, 3, SET[2]))]
    assert len(list(place.iterdir())) == 4 and not any(np.array_equal(drawn, other) for other in others)
    monkeypatch.setattr(sobol, "_drawn", never)
    np.testing.assert_array_equal(sobol_normal(*SET), drawn, strict=True)


@pytest.mark.parametrize("damage", [slice(0), slice(100), slice(-1), "a bit"])
def test_a_damaged_set_is_drawn_again(damage: slice | str, place: Path) -> None:
    drawn = sobol_normal(*SET)
    (kept,) = place.iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    bent = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    kept.write_bytes(whole[damage] if isinstance(damage, slice) else bent)
    np.testing.assert_array_equal(sobol_normal(*SET), drawn)
    assert kept.read_bytes()[: len(whole) // 2] == whole[: len(whole) // 2] and list(place.iterdir()) == [kept]


def test_large_sets_and_those_without_a_place_are_not_kept(place: Path) -> None:
    """A directory that is not there is no error."""
    assert sobol_normal(KEPT // 2 + 1, 2, (0,)).shape == (2, KEPT // 2 + 1) and not list(place.iterdir())
    jax.config.update("jax_compilation_cache_dir", str(place / "missing"))
    np.testing.assert_array_equal(sobol_normal(*SET), sobol._drawn(*SET))
    jax.config.update("jax_compilation_cache_dir", None)
    np.testing.assert_array_equal(sobol_normal(*SET), sobol._drawn(*SET))
    assert not list(place.iterdir())
