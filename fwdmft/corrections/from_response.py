"""Sigma and b of two-layer networks from the linear response of their neurons, to a stated error."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from fwdmft.corrections.corrections import Arrays, Corrections
from fwdmft.corrections.driven import source_shapes
from fwdmft.corrections.finite_width import LESS_PRECISE
from fwdmft.corrections.linear_response import OVERFLOW, Response, affordable, fits_memory, linear_response, numbers
from fwdmft.engine.infinite_width import OF_A_FIELD, Report, noise_of, relative
from fwdmft.engine.problem import JUDGED, TheoryTask
from fwdmft.engine.sobol_errors import spread_error
from fwdmft.errors import ComputationError
from fwdmft.executors import SideBySide, Work
from fwdmft.in_order import THREADS, fitting_workers

FEWEST, MOST = 1 << 8, 1 << 15
"""Neurons of a system, at least, and of a sampling, at most."""

_NUMBERS = 1 << 20
"""Contributions to predictions of one system: so many at most, if it has no fewer than `FEWEST` neurons."""

NEURONS_TIMES_ERROR = 20.48
"""Neurons of one system, times the stated error: systematic errors, which fall with the neurons of a system, stay below
those that fall with the number of systems."""

AHEAD = 4.0
"""Excess of an error that is believed, at most: the first ones are known roughly."""

RESPONDING = 1 << 7, 1 << 8
"""Neurons whose mean response is taken, fewest and most: it converges faster than mean squares of influences do."""

SHARE_RESPONDING = 0.25
"""Share of the neurons, between these."""

SAMPLINGS = 8
"""Independent samplings, whose spread gives standard errors. A sampling is a mean over systems: sets of neurons that
respond together. More of these take no other program and no more memory."""

PASSES = 100
"""Passes through training that a sampling takes, about: sources respond, each by itself."""

AVERAGED = "mean", "variance", "bias", "prediction_covariance", "equal_time_covariance", "layer_covariance"
"""What is averaged over the systems of a sampling."""

RESOLVED = 0.03
"""Contributions to predictions are resolved to this times the root of the stated error, as a share of their largest
singular value: Sigma misses about its square, a hundredth of the stated error times a number of directions."""


def has_response(task: TheoryTask) -> bool:
    """Whether the linear response is defined, complete enough for what is asked, and no draws are asked for."""
    return _suffices(task) and affordable(task.equations, task.training(), FEWEST)


def may_respond(task: TheoryTask) -> bool:
    """The same, but for whether observables are linear in averages, which takes compiling to know."""
    return _suffices(task) and fits_memory(task.equations, task.training(), FEWEST)


def _suffices(task: TheoryTask) -> bool:
    """It is that of infinite width and of averages: what richness at finite width adds to b, and functions of averages,
    are seen by draws alone."""
    return not (task.richness_varies or task.two_time or task.functions or task.spec.draws or task.spec.draw_width)


@dataclass(frozen=True)
class _Samplings:
    """Each a mean over as many systems."""

    each: list[Response]

    def add(self, number: int, response: Response) -> None:
        """The response of a system, to the mean of its sampling; systems are numbered in turn."""
        systems, position = divmod(number, len(self.each))
        mean = self.each[position]
        means = {
            name: jax.tree.map(lambda a, b: a + (b - a) / (systems + 1), getattr(mean, name), getattr(response, name))
            for name in AVERAGED
        }
        self.each[position] = replace(mean, rank=max(mean.rank, response.rank), **means)

    def mean(self, name: str) -> Any:
        """Of arrays by name, or of one that may be None."""
        return jax.tree.map(lambda *a: np.mean(a, axis=0), *(getattr(response, name) for response in self.each))

    def error(self, name: str) -> Arrays:
        """From the spread, and from what is left out of contributions, which is common to all."""
        parts, left_out = [getattr(response, name) for response in self.each], self.each[0].truncation.get(name, {})
        spread = {key: spread_error(np.stack([part[key] for part in parts])) for key in parts[0]}
        return {key: np.hypot(error, left_out.get(key, 0.0)) for key, error in spread.items()}

    def reached(self, name: str) -> float:
        mean, error = self.mean(name), self.error(name)
        return max((relative(error[key], mean[key]) for key in JUDGED if key in mean), default=0.0)


def from_response(task: TheoryTask, report: Report, side_by_side: SideBySide = THREADS) -> Corrections:
    """Sigma and b."""
    spec = task.spec
    count, systems = spec.neurons or first_try(task), 1
    samplings = _Samplings(list(_systems(task, count, range(SAMPLINGS), report, side_by_side)))
    errors = _reached(samplings)
    while (more := enough(task, count, systems, errors["variance"], errors["bias"])) > systems:
        numbers = range(SAMPLINGS * systems, SAMPLINGS * more)
        for number, response in zip(numbers, _systems(task, count, numbers, report, side_by_side), strict=True):
            samplings.add(number, response)
        systems, errors = more, _reached(samplings)
    return Corrections(
        variance=samplings.mean("variance"),
        variance_error=samplings.error("variance"),
        bias=samplings.mean("bias"),
        bias_error=samplings.error("bias"),
        prediction_covariance=samplings.mean("prediction_covariance"),
        equal_time_covariances=np.stack([each.equal_time_covariance for each in samplings.each]),
        prediction_biases=np.stack([each.bias["prediction"] for each in samplings.each]) if spec.bias else None,
        layer_covariance=samplings.mean("layer_covariance"),
        limit=(samplings.mean("mean"), samplings.error("mean")),
        diagnostics={
            "response_neurons": count * systems,
            "response_rank": max(each.rank for each in samplings.each),
            "relative_error_variance": errors["variance"],
            "relative_error_bias": errors["bias"],
        },
    )


def _reached(samplings: _Samplings) -> dict[str, float]:
    """Relative errors of Sigma and b. Raises ComputationError where numbers are too large to have one."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors = {name: samplings.reached(name) for name in ("variance", "bias")}
    if not np.isfinite(list(errors.values())).all():
        raise ComputationError(OVERFLOW)
    return errors


def enough(task: TheoryTask, count: int, systems: int, variance: float, bias: float) -> int:
    """How many systems of so many neurons the stated error asks for, from the relative errors that these have."""
    if task.spec.neurons:
        return systems
    excess = max(variance, bias / LESS_PRECISE) / task.spec.relative_error
    return min(max(1, MOST // count), int(np.ceil(systems * np.clip(excess, 1, AHEAD) ** 2)))


def first_try(task: TheoryTask) -> int:
    """Neurons of a system."""
    fitting = min(MOST, _NUMBERS // sum(int(np.prod(shape)) for shape in source_shapes(task.training())))
    wanted = NEURONS_TIMES_ERROR / task.spec.relative_error
    return max(FEWEST, 1 << int(np.log2(max(1, min(wanted, fitting)))))


def _systems(
    task: TheoryTask, count: int, items: range, report: Report, side_by_side: SideBySide
) -> Iterator[Response]:
    """Those of these numbers."""
    stage = f"linear response, {len(items) // SAMPLINGS * count} neurons"
    work = Work(
        partial(_system, task, count),
        items,
        workers=fitting_workers(numbers(task.equations, task.training(), count)),
        first_alone=items.start == 0,
        flops=len(items) * PASSES * OF_A_FIELD * count * task.updates * task.site_numbers,
    )
    report(stage, 0, len(items))
    for done, response in enumerate(side_by_side(work)):
        yield response
        report(stage, done + 1, len(items))


def _system(task: TheoryTask, count: int) -> Callable[[int], Response]:
    """Makes the response from so many neurons, in the system of a number."""
    spec, training = task.spec, task.training()
    root = jax.random.key(spec.seed)

    def responding(number: int) -> Response:
        # Numbered from the last of the simulations of infinite width.
        noise = noise_of(task.equations, count, spec.seed, spec.replicates + number)
        return linear_response(
            task.equations,
            noise,
            training,
            bias=spec.bias,
            covariance=spec.covariance and spec.fluctuations,
            key=jax.random.fold_in(root, number),
            responding=int(np.clip(SHARE_RESPONDING * count, *np.minimum(RESPONDING, count))),
            tolerance=RESOLVED * spec.relative_error**0.5,
            truncation=number == 0,
        )

    return responding
