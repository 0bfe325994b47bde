"""Optimizers: a schema each, and the plan of steps it stands for."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from fwdmft.errors import NOTHING, InputError
from fwdmft.spec.base import Count, NonNegativeReal, PositiveReal, Real, Spec
from fwdmft.spec.schedule import Constant, Minibatches, Schedule

if TYPE_CHECKING:
    from fwdmft.optimization import Plan


class OptimizerSpec(Spec):
    """An optimizer; `steps` is the number of times at which quantities are measured (0 .. steps - 1)."""

    kind: str = Field(description="Name of the optimizer.")
    steps: Count = Field(description="Number of steps (steps); results are taken before each step's update.")

    @property
    def online(self) -> bool:
        """Whether training points are a stream: not observed, and visited in order by the batches of the plan."""
        return False

    @abstractmethod
    def plan(self, n_train: int) -> Plan:
        """The plan for this many training points; raises InputError when the two do not fit."""


class GradientDescent(OptimizerSpec):
    """Discrete gradient descent, theta <- theta - eta gamma0^2 N (grad loss), treated exactly."""

    kind: Literal["gradient_descent"] = Field("gradient_descent", description="Discrete gradient descent.")
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
        return self

    @property
    def online(self) -> bool:
        return self.data == "online"

    def plan(self, n_train: int) -> Plan:
        from fwdmft.optimization import Plan

        order = None
        if self.batch is not None:
            in_turn = self.batch.in_turn if self.online else self.batch.order
            order = in_turn(n_train, self.steps)
        return Plan(
            learning_rates=self.learning_rate * self.schedule.multipliers(self.steps),
            batches=order,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


class GradientFlow(OptimizerSpec):
    """The small-step limit of gradient descent, reached by step halving with extrapolation."""

    kind: Literal["gradient_flow"] = Field("gradient_flow", description="Gradient flow.")
    learning_rate: PositiveReal = Field(description="Time eta between two reported steps (dimensionless).")
    weight_decay: NonNegativeReal = Field(
        0.0, description="Weight decay lambda, in units of the scaled gradient (1/time)."
    )
    tolerance: PositiveReal = Field(
        1e-6, description="Relative accuracy at which halving the step stops (dimensionless)."
    )

    def plan(self, n_train: int) -> Plan:
        from fwdmft.optimization import Plan

        return Plan(
            learning_rates=np.full(self.steps, self.learning_rate),
            weight_decay=self.weight_decay,
            tolerance=self.tolerance,
        )
