"""Losses ell(f, y) of one point, and what training needs of them.

`f` and `y` have shape (..., point, output). The loss of a set of points is the sum or the mean of ell over them
(`reduction`). The residual Delta = -d loss / d f is the only thing the theory ever sees of a loss; networks
differentiate the loss itself.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.spec.loss import LossSpec

PointLoss = Callable[[Array, Array], Array]


def _squared_error(f: Array, y: Array) -> Array:
    return 0.5 * jnp.sum((f - y) ** 2, axis=-1)


def _logistic(f: Array, y: Array) -> Array:
    return jnp.sum(jax.nn.softplus(-y * f), axis=-1)


def _softmax_cross_entropy(f: Array, y: Array) -> Array:
    return -jnp.sum(y * jax.nn.log_softmax(f, axis=-1), axis=-1)


POINT_LOSSES: dict[str, PointLoss] = {
    "squared_error": _squared_error,
    "logistic": _logistic,
    "softmax_cross_entropy": _softmax_cross_entropy,
}


def total(
    loss: LossSpec, f: Float[Array, "*batch point output"], y: Float[Array, "point output"]
) -> Float[Array, "*batch"]:
    """Loss of the given points, summed or averaged over them as `loss.reduction` says."""
    reduce = jnp.sum if loss.reduction == "sum" else jnp.mean
    return reduce(POINT_LOSSES[loss.kind](f, y), axis=-1)


def residual(
    loss: LossSpec, f: Float[Array, "point output"], y: Float[Array, "point output"]
) -> Float[Array, "point output"]:
    """Delta = -d loss / d f, so y - f for the summed squared error."""
    return -jax.grad(lambda f: total(loss, f, y))(f)


@partial(jax.jit, static_argnums=0)
def shift(
    loss: LossSpec,
    f: Float[Array, "time point output"],
    y: Float[Array, "point output"],
    covariance: Float[Array, "time point output output"],
    bias: Float[Array, "time point output"],
) -> Float[Array, " time"]:
    """N times what finite width adds to the expected loss of a network, to leading order.

    E ell(f_N) = ell(f) + (grad ell . b + tr(hess ell Sigma) / 2) / N, by expanding ell around the infinite-width f
    with E(f_N - f) = b / N and Cov f_N = Sigma / N (`covariance`: Sigma among the outputs of one point).
    """
    point_loss = POINT_LOSSES[loss.kind]

    def of_point(f: Array, y: Array, sigma: Array, b: Array) -> Array:
        slope, curvature = jax.grad(point_loss)(f, y), jax.hessian(point_loss)(f, y)
        return slope @ b + 0.5 * jnp.sum(curvature * sigma)

    over_points = jax.vmap(of_point, in_axes=(0, 0, 0, 0))
    shifts = jax.vmap(over_points, in_axes=(0, None, 0, 0))(f, y, covariance, bias)
    reduce = jnp.sum if loss.reduction == "sum" else jnp.mean
    return reduce(shifts, axis=-1)
