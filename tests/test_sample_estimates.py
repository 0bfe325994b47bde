"""Estimates from synthetic draws whose Sigma and b are known exactly."""

from functools import cache

import numpy as np

from fwdmft.corrections.layout import Layout
from fwdmft.corrections.sample_estimates import GROUPS, STEP, Estimates, Sums, estimates, without_rounding
from fwdmft.corrections.samples import PARTS
from fwdmft.testing.agreement import Estimate, assert_zero, rarely_exceeded

N, DRAWS, REPEATS = 16, 2000, 60
COMPONENTS, RESPONSES = 6, 3
"""Of neurons; observables."""

_rng = np.random.default_rng(0)
LINEAR = _rng.standard_normal((RESPONSES, COMPONENTS))
QUADRATIC = _rng.standard_normal((RESPONSES, COMPONENTS, COMPONENTS))
QUADRATIC = (QUADRATIC + QUADRATIC.swapaxes(1, 2)) / 2
ROOT = np.eye(COMPONENTS) + 0.3 * _rng.standard_normal((COMPONENTS, COMPONENTS))
C = ROOT @ ROOT.T
"""Covariance of the components over neurons."""
Q = np.array([0.3, -2.0, 5.0])

SIGMA = LINEAR @ C @ LINEAR.T
B = np.einsum("okl,kl->o", QUADRATIC, C)
NEXT = 2 * np.einsum("okl,lm,pmj,jk->op", QUADRATIC, C, QUADRATIC, C)
"""n Cov q_n = SIGMA + NEXT / n, E q_n = Q + B / n."""

CONTRASTS = np.linalg.qr(np.column_stack([np.ones(PARTS), np.eye(PARTS)[:, 1:]]))[0].T[1:] / PARTS**0.5
"""Orthogonal to the sum over parts, and of the length of the mean."""

PAIRS = np.array([0, 2]), np.array([1, 0])
FULL = slice(1, 3)


def draws(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """q_n = Q + linear and quadratic forms in the mean of the components over neurons."""
    parts = rng.standard_normal((count, PARTS, COMPONENTS)) @ ROOT.T / np.sqrt(N)

    def respond(x: np.ndarray) -> np.ndarray:
        return Q + x @ LINEAR.T + np.einsum("...k,okl,...l->...o", x, QUADRATIC, x)

    each, whole = respond(parts), parts.mean(axis=1)
    mean = each.mean(axis=1)
    return {"mean": mean, "difference": CONTRASTS @ each, "change": respond(whole) - mean}


@cache
def repeats() -> tuple[Estimates, ...]:
    rng, actual = np.random.default_rng(1), []
    for _ in range(REPEATS):
        sums = [Sums() for _ in range(GROUPS)]
        for group in sums:
            # Two portions a group: sums add up.
            for _ in range(2):
                group.add(draws(rng, DRAWS // GROUPS // 2), FULL, PAIRS)
        actual.append(estimates(sums, N, FULL, PAIRS))
    return tuple(actual)


def assert_right(values: np.ndarray, exact: np.ndarray) -> None:
    """Of repeated estimates (repeat, ...)."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert_zero("mean", Estimate.of(values.mean(axis=0) - exact, error, len(values)), float(np.max(np.abs(exact))))


def test_estimates_are_free_of_bias() -> None:
    actual = repeats()
    assert_right(np.stack([e.sigma[0] for e in actual]), np.diagonal(SIGMA))
    assert_right(np.stack([e.variance for e in actual]), np.diagonal(SIGMA + NEXT / N))
    assert_right(np.stack([e.growth[0] for e in actual]), -np.diagonal(NEXT) / (STEP * N))
    assert_right(np.stack([e.mean.mean(0) for e in actual]), Q + B / N)
    assert_right(np.stack([e.change.mean(0) for e in actual]), -B / (STEP * N))
    assert_right(np.stack([e.pairs.mean(0) for e in actual]), SIGMA[PAIRS])
    assert_right(np.stack([e.full for e in actual if e.full is not None]), SIGMA[FULL, FULL])


def test_stated_errors_are_right() -> None:
    actual = repeats()
    for values, errors, exact in (
        (np.stack([e.sigma[0] for e in actual]), np.stack([e.sigma[1] for e in actual]), np.diagonal(SIGMA)),
        (
            np.stack([e.growth[0] for e in actual]),
            np.stack([e.growth[1] for e in actual]),
            -np.diagonal(NEXT) / (STEP * N),
        ),
    ):
        measured, stated = (np.mean(each**2, axis=0) for each in (values - exact, errors))
        freedom = REPEATS, REPEATS * (GROUPS - 1)
        assert (measured / stated < rarely_exceeded(*freedom)).all()
        assert (stated / measured < rarely_exceeded(*freedom[::-1])).all()


def test_what_varies_by_rounding_alone_does_not_vary() -> None:
    """f(0) of centred networks, 0 to single precision, and an entry that is 1; others of both observables stay."""
    rng, noise = np.random.default_rng(2), float(np.finfo(np.float32).eps)
    sizes = np.array([noise, 0.3, noise, 2e-5])
    sums = [Sums() for _ in range(GROUPS)]
    for group in sums:
        normal = {"mean": rng.standard_normal((64, 4)), "change": rng.standard_normal((64, 4))}
        some = {name: sizes * a / N**0.5 for name, a in normal.items()}
        some["mean"] += [0.0, 1.0, 1.0, 1.0]
        some["difference"] = sizes * rng.standard_normal((64, PARTS - 1, 4)) / N**0.5
        group.add(some, None, PAIRS)
    actual = estimates(sums, N, None, PAIRS)
    assert actual.full is None
    exact = without_rounding(actual, N, Layout({"f": (1, 2), "K": (1, 2)}).sizes, noise)
    for before, after in zip([*actual.sigma, *actual.growth], [*exact.sigma, *exact.growth], strict=True):
        np.testing.assert_array_equal(after, np.where([True, False, True, False], 0.0, before))
    np.testing.assert_array_equal(exact.variance > 0, [False, True, False, True])
    for before, after in ((actual.mean, exact.mean), (actual.change, exact.change)):
        assert (before[:, 0] != 0).all() and (after[:, 0] == 0).all()
        np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
