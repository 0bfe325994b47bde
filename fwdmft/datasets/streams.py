"""Online learning: training points as a stream that is visited once, apart from the test points that are observed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fwdmft.datasets.dataset import Dataset
from fwdmft.errors import InputError
from fwdmft.experiment.model import Experiment
from fwdmft.registry import registry

if TYPE_CHECKING:
    from fwdmft.optimization import Plan


def check_online(experiment: Experiment, dataset: Dataset) -> None:
    """Check that an experiment with `data: online` can be run on this data. Raises InputError."""
    parameterization, kind = experiment.parameterization, experiment.architecture.kind
    if parameterization.center or parameterization.richness(None) == 0:
        reason = "as f(0) is not known at a point that has not been seen before"
        raise InputError("parameterization.center", parameterization.center, f"false in online learning, {reason}")
    axes = registry().get("architecture", kind).axes
    if len(axes) > 1:
        expected = f"offline for architecture {kind}, whose points are no rows but ({', '.join(axes)})"
        raise InputError("optimizer.data", "online", expected)
    for name, half in (("theory", experiment.theory), ("ensemble", experiment.ensemble)):
        if half is not None and half.kernel_points is not None:
            expected = "no number in online learning, where kernels are those of the test points"
            raise InputError(f"{name}.kernel_points", half.kernel_points, expected)
    if dataset.n_train == len(dataset.x):
        raise InputError("data.test", 0, "at least one test point, as online learning is observed on test points alone")


def with_stream(dataset: Dataset, plan: Plan) -> tuple[Dataset, Plan]:
    """The test points, which are observed, and the plan with the training points that its batches visit."""
    from fwdmft.optimization import Stream

    assert plan.batches is not None
    visited = np.flatnonzero(dataset.train)[: plan.batches.max() + 1]
    observed = ~dataset.train
    done = dataset.standardization
    sizes = {"stream_points": len(visited), "stream_points_per_step": plan.batches.shape[1]}
    test = replace(
        dataset,
        x=dataset.x[observed],
        y=dataset.y[observed],
        train=np.zeros(int(observed.sum()), bool),
        attributes=dataset.attributes | sizes,
        standardization=done and replace(done, scale=done.scale[observed]),
    )
    return test, plan.on_stream(Stream(dataset.x[visited], dataset.y[visited]))
