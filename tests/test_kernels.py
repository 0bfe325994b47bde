"""Kernels between positions: two ways to the same tangent kernel."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fwdmft.meanfield.kernels import LayerSites, PopulationSites, TangentKernel, averages
from fwdmft.meanfield.positions import Taps
from fwdmft.testing.agreement import ROUNDING

POINTS, OUTPUTS, POSITIONS, RANK, NEURONS = 3, 2, 4, 5, 11
POOL = Taps(((0, 2), (1, 3)), POSITIONS)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def test_term_of_the_input_weights_through_patches_is_that_of_the_full_kernel() -> None:
    """sum_k <y_k y'_k>, y_k = sum_a x_ak g_a, against sum_ab Phi^0_ab <g_a g'_b> summed by hand."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((POINTS, POSITIONS, RANK))
    v = draws.standard_normal((POINTS, POSITIONS, NEURONS))
    g = draws.standard_normal((POINTS, OUTPUTS, POSITIONS, NEURONS))
    inputs = np.einsum("mak,nbk->manb", x, x)
    sites = PopulationSites((LayerSites(jnp.asarray(v), jnp.asarray(g)),), jnp.zeros((0, OUTPUTS, NEURONS)))
    # The readout is frozen, so that only the term of the input weights is left.
    kernel = TangentKernel((1.5, 0.0), jnp.asarray(inputs), 0.0, (POOL,), (Taps(((0,),), 2),))
    by_hand = 1.5 * np.einsum("manb,mcai,ndbi->mcnd", inputs, g, g) / NEURONS
    for patches in (jnp.asarray(x), None):
        found = averages(sites, (POOL,), patches).layers
        assert (found[0].between_gradients is None) == (patches is not None)
        np.testing.assert_allclose(kernel.assemble(list(found)), by_hand, rtol=ROUNDING)
