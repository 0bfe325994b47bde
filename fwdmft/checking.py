"""What can be found wrong with an experiment and its data before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwdmft.datasets import check_targets
from fwdmft.spec.experiment import Experiment

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset


def checked_data(experiment: Experiment) -> Dataset:
    """The points of an experiment, found to suit its loss and optimizer. Raises InputError where they do not."""
    data = experiment.data.load(experiment.base).validate()
    check_targets(experiment.loss, data.y)
    experiment.optimizer.plan(data.n_train)
    return data
