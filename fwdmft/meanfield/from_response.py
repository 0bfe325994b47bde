"""Sigma and b of two-layer networks from the linear response of their neurons, to a stated error."""

from dataclasses import dataclass

import jax
import numpy as np

from fwdmft.meanfield.corrections import Arrays, Corrections
from fwdmft.meanfield.dynamics import Drive
from fwdmft.meanfield.finite_width import JUDGED, LESS_PRECISE
from fwdmft.meanfield.infinite_width import Report, noise_of, relative
from fwdmft.meanfield.linear_response import Response, affordable, linear_response
from fwdmft.meanfield.task import TheoryTask
from fwdmft.optimization import Rung

FEWEST, MOST = 1 << 9, 1 << 15
"""Neurons per sampling: the first try, and the last."""

RESPONDING = 256
"""Neurons whose mean response is taken: it converges faster than mean squares of influences do."""

SAMPLINGS = 8
"""Independent samplings, whose spread gives standard errors."""

RESOLVED = 3e-3
"""Share of the largest singular value to which contributions to predictions are resolved; Sigma misses its square."""


def has_response(task: TheoryTask, ladder: tuple[Rung, ...]) -> bool:
    """Whether the linear response is defined, complete enough for what is asked, and no draws are asked for.

    It is that of infinite width: what richness at finite width adds to b is seen by draws alone.
    """
    if task.richness_varies or task.two_time or task.spec.draws or task.spec.draw_width:
        return False
    return affordable(task.equations, task.drive(ladder), FEWEST)


@dataclass(frozen=True)
class _Samplings:
    each: list[Response]

    def mean(self, name: str) -> Arrays:
        parts = [getattr(response, name) for response in self.each]
        return {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}

    def error(self, name: str) -> Arrays:
        parts = [getattr(response, name) for response in self.each]
        root = len(parts) ** 0.5
        return {key: np.std([part[key] for part in parts], axis=0, ddof=1) / root for key in parts[0]}

    def reached(self, name: str) -> float:
        mean, error = self.mean(name), self.error(name)
        return max((relative(error[key], mean[key]) for key in JUDGED if key in mean), default=0.0)


def from_response(task: TheoryTask, ladder: tuple[Rung, ...], report: Report) -> Corrections:
    """Sigma and b."""
    spec, drive = task.spec, task.drive(ladder)
    count = FEWEST if spec.neurons is None else spec.neurons
    while True:
        found = _samplings(task, drive, count, report)
        errors = {name: found.reached(name) for name in ("variance", "bias")}
        excess = max(errors["variance"], errors["bias"] / LESS_PRECISE) / spec.relative_error
        wider = min(MOST, count * 2 ** int(np.ceil(2 * np.log2(np.clip(excess, 1, 4)))))
        if spec.neurons or wider == count or not affordable(task.equations, drive, wider):
            break
        count = wider
    covariance, layers = found.each[0].prediction_covariance, found.each[0].layer_covariance
    return Corrections(
        variance=found.mean("variance"),
        variance_error=found.error("variance"),
        bias=found.mean("bias"),
        bias_error=found.error("bias"),
        prediction_covariance=None
        if covariance is None
        else np.mean([np.asarray(each.prediction_covariance) for each in found.each], axis=0),
        equal_time_covariances=np.stack([each.equal_time_covariance for each in found.each]),
        prediction_biases=np.stack([each.bias["prediction"] for each in found.each]) if spec.bias else None,
        layer_covariance=None
        if layers is None
        else np.mean([np.asarray(each.layer_covariance) for each in found.each], axis=0),
        limit=(found.mean("mean"), found.error("mean")),
        diagnostics={
            "response_neurons": count,
            "response_rank": max(each.rank for each in found.each),
            "relative_error_variance": errors["variance"],
            "relative_error_bias": errors["bias"],
        },
    )


def _samplings(task: TheoryTask, drive: Drive, count: int, report: Report) -> _Samplings:
    spec, stage = task.spec, f"linear response, {count} neurons"
    root, found = jax.random.key(spec.seed), []
    for sampling in range(SAMPLINGS):
        report(stage, sampling, SAMPLINGS)
        # Numbered from the last of the simulations of infinite width.
        noise = noise_of(task.equations, count, spec.seed, spec.replicates + sampling)
        found.append(
            linear_response(
                task.equations,
                noise,
                drive,
                bias=spec.bias,
                covariance=spec.covariance and spec.fluctuations,
                key=jax.random.fold_in(root, sampling),
                responding=min(count, RESPONDING),
                tolerance=RESOLVED,
            )
        )
    report(stage, SAMPLINGS, SAMPLINGS)
    return _Samplings(found)
