"""Networks have the precision asked for, theory has float64, and JAX keeps the precision it was set to."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import experiment

import fwdmft


@pytest.fixture(params=[False, True], ids=["single outside", "double outside"])
def outside(request: pytest.FixtureRequest) -> Iterator[bool]:
    """JAX set to double precision by a program that uses fwdmft, or left alone."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


def networks(precision: str) -> np.ndarray:
    """Predictions of two networks, one by one."""
    ensemble = {"widths": [8], "members": 2, "precision": precision, "kernels": False}
    tree = fwdmft.run(fwdmft.load_experiment(experiment(theory=None, ensemble=ensemble)))
    return tree["ensemble"]["sample_prediction"].values[:, :, 1:]


def is_single(values: np.ndarray) -> Any:
    return values == values.astype(np.float32)


def test_precision(outside: bool) -> None:
    """Both precisions in turn; networks of single precision are the same whatever JAX is set to."""
    single, double = networks("float32"), networks("float64")
    assert jax.config.jax_enable_x64 is outside
    assert jnp.zeros(1).dtype == ("float64" if outside else "float32")
    assert is_single(single).all() and not is_single(double).any()
    with jax.enable_x64(not outside):
        np.testing.assert_array_equal(networks("float32"), single)
