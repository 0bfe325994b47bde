"""The points of an experiment, in the form its network takes and checked against its loss."""

from __future__ import annotations

from fwdmft.datasets.dataset import Dataset, check_targets
from fwdmft.datasets.streams import check_online
from fwdmft.errors import InputError, PluginError
from fwdmft.experiment.model import Experiment
from fwdmft.registry import registry


def load_points(experiment: Experiment) -> Dataset:
    """Load the data of an experiment: with the axes that the architecture reads, flattened to rows for ("feature",).

    Raises InputError when the data cannot be had, or does not suit the loss, the optimizer or the architecture.
    """
    loaded = experiment.data.load(experiment.base)
    if not isinstance(loaded, Dataset):
        raise PluginError(f"{registry().origin('data', experiment.data.kind)} loads no Dataset")
    dataset = loaded.validate()
    check_targets(experiment.loss, dataset.y)
    experiment.optimizer.plan(dataset.n_train)
    if experiment.optimizer.online:
        check_online(experiment, dataset)
    kind = experiment.architecture.kind
    axes = registry().get("architecture", kind).axes
    if len(axes) == 1:
        return dataset.flattened()
    if dataset.x.ndim != 1 + len(axes):
        expected = f"{1 + len(axes)} dimensions (point, {', '.join(axes)}) for architecture {kind}"
        raise InputError("data.x", dataset.x.shape, expected)
    return dataset
