"""Least times: flops of large simulations, of draws and of networks, over the measured rate of matrix products."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from brute_force import Problem, local_flops, network_flops, sizes

from fwdmft.corrections.samples import PARTS


def theory_bound(p: Problem, diagnostics: xr.Dataset, settings: dict[str, Any], rates: dict[str, float]) -> float:
    """Seconds at the speed of flops: of the simulations of infinite width, and of the networks of draws."""
    computed = settings["replicates"] * pass_flops(p, diagnostics) / rates["float64"]
    if "draws" in diagnostics:
        n = int(diagnostics["draw_width"])
        each = network_flops(p, PARTS * n) + PARTS * network_flops(p, n)
        computed += int(diagnostics["draws"]) * each / rates["float32"]
    return computed


def pass_flops(p: Problem, diagnostics: xr.Dataset) -> float:
    """Of one pass of all sample neurons: as a network's, with k basis vectors (mean rank at the end) between layers."""
    if "neurons" not in diagnostics:
        # q is from draws, too.
        return 0.0
    neurons, (places, stencil) = float(diagnostics["neurons"]), sizes(p)
    k = float(diagnostics["basis_rank"].mean()) if p.depth > 1 else 0.0
    matrix = 2 * neurons * k * places * (1 + stencil) * (len(p.x) + 2 * p.train)
    return p.times[-1] * (p.depth * neurons * local_flops(p) + (p.depth - 1) * matrix)


def rate(dtype: str, size: int = 768) -> float:
    """Flops per processor second of a product of matrices."""
    with jax.enable_x64(dtype == "float64"):
        a = jnp.asarray(np.random.default_rng(0).standard_normal((size, size)), dtype)
        product = jax.jit(jnp.matmul)
        product(a, a).block_until_ready()
        mark = time.process_time()
        for _ in range(10):
            product(a, a).block_until_ready()
        return 20 * size**3 / (time.process_time() - mark)
