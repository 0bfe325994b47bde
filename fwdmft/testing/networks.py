"""Laws of the finite networks that an architecture builds."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from fwdmft.testing.agreement import RARE, assert_equal, note
from fwdmft.testing.case import SEED, Case
from fwdmft.testing.law import Law

BUILT = 512
"""Networks whose initial weights are looked at."""


def calling_is_tracing_without_shifts(case: Case) -> None:
    """`__call__(x)` equals `trace(x, shifts())[0]`; shifts are zero, one per layer."""
    model = case.build(case.widths[0], jax.random.key(SEED))
    shifts = model.shifts()
    assert all(not np.any(shift) for shift in shifts), "shifts() are not zero"
    for x in jnp.asarray(case.x):
        f, features = model.trace(x, shifts)
        assert len(features) == len(shifts), f"{len(features)} features, {len(shifts)} shifts"
        assert_equal("prediction", model(x), f)


def initial_weights_are_independent_normal(case: Case) -> None:
    """Of mean zero and one standard deviation per weight array; none is used twice."""
    keys = jax.random.split(jax.random.key(SEED), BUILT)
    models = eqx.filter_vmap(lambda key: eqx.filter(case.build(case.widths[0], key), eqx.is_inexact_array))(keys)
    sums = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(models):
        entries = np.asarray(leaf).reshape(BUILT, -1)
        name = jax.tree_util.keystr(path)
        standard = entries / entries.std()
        _assert_normal(f"entries of {name}", standard.ravel())
        sums[name] = standard.sum(axis=1) / np.sqrt(entries.shape[1])
        _assert_normal(f"sums of {name}", sums[name])
    correlations = np.corrcoef(list(sums.values())) - np.eye(len(sums))
    largest = np.max(np.abs(correlations))
    note("correlations of weights", largest * np.sqrt(BUILT) / 4, f"{largest:.2g}, at most {4 / np.sqrt(BUILT):.2g}")
    assert largest < 4 / np.sqrt(BUILT), f"{list(sums)} are correlated: {largest:.3f}"


LAWS = tuple(map(Law, (calling_is_tracing_without_shifts, initial_weights_are_independent_normal)))


def _assert_normal(name: str, sample: Any) -> None:
    chance = stats.kstest(sample, "norm").pvalue
    note(name, 2 * RARE / max(chance, 1e-300), f"probability {chance:.2g}, at least {2 * RARE:.1g}")
    assert chance > 2 * RARE, f"{name} are not standard normal (probability {chance:.2g})"
