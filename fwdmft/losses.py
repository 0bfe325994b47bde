"""Losses ell(f, y) of one point, and what training needs of them; plugins may register more.

`f` and `y` have shape (..., point, output). The loss of a set of points is the sum or the mean of ell over them
(`reduction`). The residual Delta = -d loss / d f is the only thing the theory ever sees of a loss; networks
differentiate the loss itself.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.errors import PluginError
from fwdmft.experiment.loss import LossSpec
from fwdmft.registry import LossFunction, registry

PointLoss = Callable[[Array, Array], Array]


def squared_error(f: Array, y: Array) -> Array:
    return 0.5 * jnp.sum((f - y) ** 2, axis=-1)


def logistic(f: Array, y: Array) -> Array:
    return jnp.sum(jax.nn.softplus(-y * f), axis=-1)


def softmax_cross_entropy(f: Array, y: Array) -> Array:
    return -jnp.sum(y * jax.nn.log_softmax(f, axis=-1), axis=-1)


def point_loss(loss: LossSpec) -> PointLoss:
    """ell(f, y), from (..., output) to (...)."""
    registered: LossFunction = registry().get("loss", loss.kind)
    return registered.function


def check_loss(loss: LossSpec) -> None:
    """Raise PluginError where ell does not make one number of the outputs of each point."""
    probe = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    value = jax.eval_shape(point_loss(loss), probe, probe)
    if getattr(value, "shape", None) != probe.shape[:1]:
        origin = registry().origin("loss", loss.kind)
        raise PluginError(f"{origin} makes {value} of f and y {probe}; expected the shape {probe.shape[:1]}")


def total(
    loss: LossSpec, f: Float[Array, "*batch point output"], y: Float[Array, "point output"]
) -> Float[Array, "*batch"]:
    """Loss of the given points, summed or averaged over them as `loss.reduction` says."""
    reduce = jnp.sum if loss.reduction == "sum" else jnp.mean
    return reduce(point_loss(loss)(f, y), axis=-1)


def residual(
    loss: LossSpec, f: Float[Array, "point output"], y: Float[Array, "point output"]
) -> Float[Array, "point output"]:
    """Delta = -d loss / d f, so y - f for the summed squared error."""
    return -jax.grad(lambda f: total(loss, f, y))(f)


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
    ell = point_loss(loss)

    def of_point(f: Array, y: Array, sigma: Array, b: Array) -> Array:
        slope, curvature = jax.grad(ell)(f, y), jax.hessian(ell)(f, y)
        return slope @ b + 0.5 * jnp.sum(curvature * sigma)

    over_points = jax.vmap(of_point, in_axes=(0, 0, 0, 0))
    shifts = jax.vmap(over_points, in_axes=(0, None, 0, 0))(f, y, covariance, bias)
    reduce = jnp.sum if loss.reduction == "sum" else jnp.mean
    return reduce(shifts, axis=-1)
