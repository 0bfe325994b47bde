"""The second order of a training run in which every neuron sees residuals of its own: b of `linear_response`.

Neuron i sees residuals Delta + e Delta_i^(1) + e^2 Delta_i^(2) with a small number e. The state of every neuron is
carried along as an expansion in e: value, coefficient of e, coefficient of e^2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.corrections.driven import ByLevel, Step, Task, over_steps, schedules
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import Noise, Observables, Sites, State

Expansion = tuple[Any, Any, Any]
"""A pytree and its coefficients of e and e^2, None for entries that are not real numbers."""


def expand(function: Callable[[Any], Any], value: Any, first: Any, second: Any) -> Expansion:
    """The expansion of function(value + e first + e^2 second)."""
    moving, fixed = eqx.partition(value, eqx.is_inexact_array)

    def along(e: Float[Array, ""]) -> tuple[Any, Any]:
        moved = jax.tree.map(lambda z, a, b: z + e * a + e**2 * b, moving, first, second)
        return eqx.partition(function(eqx.combine(moved, fixed)), eqx.is_inexact_array)

    def slope(e: Float[Array, ""]) -> tuple[Any, Any]:
        *orders, rest = jax.jvp(along, (e,), (jnp.ones_like(e),), has_aux=True)
        return orders, rest

    (unmoved, once), (_, twice), rest = jax.jvp(slope, (jnp.zeros(()),), (jnp.ones(()),), has_aux=True)
    return eqx.combine(unmoved, rest), once, jax.tree.map(lambda a: a / 2, twice)


def curvature(
    task: Task,
    f: ByLevel,
    responses: tuple[ByLevel, ByLevel],
    factor: Float[Array, "direction direction"],
    draws: Float[Array, "direction neuron"],
    amplitudes: dict[str, Float[Array, "direction neuron"]],
) -> Observables:
    """Coefficients of e^2 in the observables (saved, ...), when neuron i of a population sees the residuals

        Delta + e xi_i + e^2 (delta_i / n + 1/2 r''[Sigma_f] + r' f_2)

    n         width of the population in units of N
    xi_i      random changes of the residuals, of covariance r' Sigma_f r'^T
    delta_i   change of the residuals that neuron i causes itself
    r', r''   derivatives of the residuals in the predictions
    Sigma_f   N times the covariance of the predictions
    f_2       coefficient of e^2 in the mean predictions

    f: predictions trained on.
    responses: of the predictions, and of the residuals, to the sources (direction, saved, step, seen, output).
    factor: factor factor^T is N times the covariance of the sources' amplitudes, averaged over neurons.
    draws: independent numbers of unit variance. xi_i is the sum over k of (factor draws)_ki times the response of the
    residuals to source k.
    amplitudes: of the sources in neuron i, for every population. delta_i is made of them in the same way.
    Observables have to be linear in averages.
    """
    equations, training = task.equations, task.training
    noise = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0)[..., None], task.noise)
    drawn = factor @ draws

    def by_neuron(function: Callable[[Any, Noise], Any], expansion: Expansion) -> Expansion:
        """The expansion of function(state, noise) for every neuron. The axis of neurons comes first."""
        return jax.vmap(lambda each, noise: expand(lambda value: function(value, noise), *each))(expansion, noise)

    def train(states: dict[str, Expansion], now: list[Any]) -> tuple[dict[str, Expansion], None]:
        step, f, (f_responses, responses) = now
        trained, seen = training.trained(equations, step.batch), training.seen(step.batch)

        def x(state: State, noise: Noise) -> dict[str, Float[Array, "point output neuron"]]:
            return trained.prediction_sites(trained.sites(trained.forward(state, noise)[1]))

        def advance(at: tuple[State, Float[Array, "point output"]], noise: Noise) -> State:
            state, residual = at
            state, fields = trained.forward(state, noise)
            return trained.step(state, fields, residual, training.update(step.rate))

        changes = [by_neuron(x, state)[2].get(name) for name, state in states.items()]
        change = sum((jnp.mean(each[..., 0], axis=0) for each in changes if each is not None), jnp.zeros(()))
        residual, shift = jax.jvp(partial(training.pull, batch=step.batch), (f,), (change[seen],))
        shift = shift + bent(training, step, f, jnp.tensordot(factor, f_responses, axes=(0, 0)))
        xi = jnp.tensordot(drawn, responses, axes=(0, 0))
        placed = jax.vmap(partial(training.placed, batch=step.batch, like=change))

        def after(name: str) -> Expansion:
            caused = jnp.tensordot(amplitudes[name] / task.widths[name], responses, axes=(0, 0))
            orders = [placed(a) for a in (jnp.broadcast_to(residual, xi.shape), xi, caused + shift)]
            value, first, second = zip(states[name], orders, strict=True)
            return by_neuron(advance, (value, first, second))

        return {name: after(name) for name in states}, None

    def observe(states: dict[str, Expansion]) -> tuple[dict[str, Expansion], Observables]:
        def look(state: State, noise: Noise) -> tuple[State, Sites]:
            state, fields = equations.forward(state, noise)
            return state, equations.sites(fields)

        def own(name: str, order: int) -> Any:
            return jax.tree.map(lambda a: jnp.moveaxis(a[..., 0], 0, -1), seen[name][order][1][name])

        seen = {name: by_neuron(look, state) for name, state in states.items()}
        sites = [{name: own(name, order) for name in states} for order in range(3)]
        states = {name: tuple(state for state, _ in orders) for name, orders in seen.items()}
        return states, expand(lambda sites: equations.observe(sites), *sites)[2]

    def interval(levels: list[dict[str, Expansion]], now: tuple) -> tuple[list[dict[str, Expansion]], Observables]:
        looks = [observe(states) for states in levels]
        levels = [over_steps(train, states, given)[0] for (states, _), *given in zip(looks, *now, strict=True)]
        return levels, training.combined([seen for _, seen in looks])

    start = jax.vmap(lambda noise: equations.initial(noise, (), momentum=training.momentum != 0))(noise)
    still = jax.tree.map(jnp.zeros_like, eqx.filter(start, eqx.is_inexact_array))
    levels = [{name: (start, still, still) for name in task.widths} for _ in training.ladder]
    steps_first = [tuple(jnp.moveaxis(a, 0, 2) for a in pair) for pair in zip(*responses, strict=True)]
    return jax.lax.scan(interval, levels, (schedules(training), f, steps_first))[1]


def bent(
    training: TrainingSignal, step: Step, f: Float[Array, "seen output"], changes: Float[Array, "direction seen output"]
) -> Float[Array, "seen output"]:
    """1/2 r''[Sigma_f], where Sigma_f = sum_k changes_k changes_k^T. f: predictions at the points seen."""

    each = jax.vmap(partial(second_derivative, partial(training.pull, batch=step.batch), f))(changes)
    return jnp.sum(each / 2, axis=0)


def second_derivative(function: Callable[[Any], Any], at: Any, along: Any) -> Any:
    """Of a function in one direction."""

    def slope(at: Any) -> Any:
        return jax.jvp(function, (at,), (along,))[1]

    return jax.jvp(slope, (at,), (along,))[1]
