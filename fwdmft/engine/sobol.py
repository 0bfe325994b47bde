"""Scrambled Sobol points as independent standard normal numbers.

Loading SciPy's statistics, whose points these are, takes longer than drawing them for a small network. So small sets
are kept where JAX keeps compiled programs, if it does (`jax_compilation_cache_dir`, which the command line sets).
"""

import warnings
import zipfile
import zlib
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import scipy
from jaxtyping import Float
from scipy.special import ndtri

from fwdmft.files import replacing

KEPT = 1 << 18
"""Numbers of a set, at most, if it is kept."""


def sobol_normal(neurons: int, dimension: int, entropy: tuple[int, ...]) -> Float[np.ndarray, "dimension neuron"]:
    """N(0, 1) numbers from one scrambling. entropy: what the scrambling is drawn from."""
    place = getattr(jax.config, "jax_compilation_cache_dir", None)
    if dimension == 0 or place is None or dimension * neurons > KEPT:
        return _drawn(neurons, dimension, entropy)
    drawn_from = f"{np.__version__} {scipy.__version__} {neurons} {dimension} {entropy}"
    path = Path(place) / f"sobol-{sha256(drawn_from.encode()).hexdigest()}.npz"
    damaged = ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error  # the format has a checksum
    with suppress(OSError, *damaged), np.load(path) as kept:
        return kept["normal"]
    normal = _drawn(neurons, dimension, entropy)
    with suppress(OSError), replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, normal=normal)
    return normal


def _drawn(neurons: int, dimension: int, entropy: tuple[int, ...]) -> Float[np.ndarray, "dimension neuron"]:
    if dimension == 0:
        return np.zeros((0, neurons))
    from scipy.stats import qmc  # takes half a second to import

    sequence = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(entropy))
    with warnings.catch_warnings():
        # Any number of neurons is allowed; powers of two are merely the best balanced.
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        points = sequence.random(neurons)
    tiny = np.finfo(float).eps
    return np.ascontiguousarray(ndtri(np.clip(points, tiny, 1 - tiny)).T)
