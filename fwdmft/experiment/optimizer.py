"""Optimizers: a schema each, and the plan of steps it stands for."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from fwdmft.errors import NOTHING, InputError
from fwdmft.experiment.base import LARGEST_STEPS, NonNegativeReal, PositiveReal, Real, Spec, Steps, require_kind
from fwdmft.experiment.schedule import Constant, Minibatches, Schedule

if TYPE_CHECKING:
    from fwdmft.optimization import Plan


class OptimizerSpec(Spec):
    """An optimizer; `steps` is the number of times at which quantities are measured (0 .. steps - 1)."""

    kind: str = Field(description="Name of the optimizer.")
    steps: Steps | None = Field(description="Number of steps (steps); results are taken before each step's update.")

    @property
    def online(self) -> bool:
        """Whether training points are a stream: not observed, and visited in order by the batches of the plan."""
        return False

    @abstractmethod
    def plan(self, n_train: int) -> Plan:
        """The plan for this many training points; raises InputError when the two do not fit."""


def _one_duration(schema: dict[str, Any]) -> None:
    require_kind(schema)
    schema["oneOf"] = [{"required": ["steps"]}, {"required": ["epochs"]}]


class GradientDescent(OptimizerSpec):
    """Discrete gradient descent, theta <- theta - eta gamma0^2 N (grad loss), treated exactly."""

    model_config = ConfigDict(json_schema_extra=_one_duration)

    kind: Literal["gradient_descent"] = Field("gradient_descent", description="Discrete gradient descent.")
    steps: Steps | None = Field(
        None, description="Number of steps (steps); results are taken before each step's update. Or give epochs."
    )
    epochs: Steps | None = Field(
        None,
        description="In place of steps: how often each minibatch of a pass over the training set is taken (epochs).",
    )
    learning_rate: PositiveReal = Field(description="Learning rate eta (dimensionless).")
    momentum: Real = Field(0.0, ge=0, lt=1, description="Heavy-ball momentum (dimensionless).")
    weight_decay: NonNegativeReal = Field(
        0.0, description="Weight decay lambda, in units of the scaled gradient (1/eta)."
    )
    schedule: Schedule = Field(Constant(), description="Factor on the learning rate at each step.")
    batch: Minibatches | None = Field(
        None, description="Minibatches in a fixed seeded order; left out: every training point at every step."
    )
    data: Literal["offline", "online"] = Field(
        "offline",
        description="online: training points are a stream, visited once in its order, batch.size of them per step "
        "(needs steps * batch.size), and results are about the test points alone.",
    )

    @model_validator(mode="after")
    def _batches_of_a_stream(self) -> GradientDescent:
        if self.online and self.batch is None:
            raise InputError("batch", NOTHING, "batch: {size: B}, the number of fresh points at each step, online")
        if self.online and self.batch is not None and self.batch.seed != 0:
            raise InputError(
                "batch.seed", self.batch.seed, "no seed online, where points come in the order of the data"
            )
        if self.online and self.epochs is not None and self.epochs > 1:
            raise InputError("epochs", self.epochs, "1 online, where no point is visited twice")
        return self

    @property
    def online(self) -> bool:
        return self.data == "online"

    @model_validator(mode="after")
    def _one_of_steps_and_epochs(self) -> GradientDescent:
        if self.steps is None and self.epochs is None:
            raise InputError("steps", NOTHING, "a number of steps, or epochs with batch")
        if self.epochs is not None:
            if self.steps is not None:
                raise InputError("epochs", self.epochs, "either steps or epochs")
            if self.batch is None:
                raise InputError("epochs", self.epochs, "batch to be given with epochs; otherwise say steps")
        return self

    def _count(self, n_train: int) -> int:
        if self.epochs is not None and self.batch is not None:
            steps = self.epochs * self.batch.per_epoch(n_train)
            if steps > LARGEST_STEPS:
                expected = f"at most {LARGEST_STEPS} steps ({self.batch.per_epoch(n_train)} per epoch)"
                raise InputError("optimizer.epochs", self.epochs, expected)
            return steps
        assert self.steps is not None
        return self.steps

    def plan(self, n_train: int) -> Plan:
        from fwdmft.optimization import Plan

        steps, order = self._count(n_train), None
        if self.batch is not None:
            order = (self.batch.in_turn if self.online else self.batch.order)(n_train, steps)
        return Plan(
            learning_rates=self.learning_rate * self.schedule.multipliers(steps),
            batches=order,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


class GradientFlow(OptimizerSpec):
    """The small-step limit of gradient descent, reached by step halving with extrapolation."""

    kind: Literal["gradient_flow"] = Field("gradient_flow", description="Gradient flow.")
    steps: Steps = Field(description="Number of steps (steps); results are taken before each step's update.")
    learning_rate: PositiveReal = Field(description="Time eta between two reported steps (dimensionless).")
    weight_decay: NonNegativeReal = Field(
        0.0, description="Weight decay lambda, in units of the scaled gradient (1/time)."
    )
    tolerance: PositiveReal = Field(
        1e-6,
        description="Relative accuracy at which halving the step stops (dimensionless). Where activations have kinks, "
        "it stops as well when neurons that pass their kink hide the change, by less than a sixteenth of "
        "theory.relative_error.",
    )

    def plan(self, n_train: int) -> Plan:
        from fwdmft.optimization import Plan

        return Plan(
            learning_rates=np.full(self.steps, self.learning_rate),
            weight_decay=self.weight_decay,
            tolerance=self.tolerance,
        )
