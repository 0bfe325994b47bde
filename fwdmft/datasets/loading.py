"""The points of an experiment, in the form its network takes and checked against its loss."""

from __future__ import annotations

from fwdmft.datasets.dataset import Dataset, check_targets
from fwdmft.datasets.streams import check_online
from fwdmft.errors import InputError, PluginError
from fwdmft.registry import registry
from fwdmft.spec.experiment import Experiment


def load_points(experiment: Experiment) -> Dataset:
    """Load the data of an experiment: images as they are where the architecture takes images, flat rows elsewhere.

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
    if not registry().get("architecture", kind).images:
        return dataset.flattened()
    if dataset.x.ndim != 4:
        raise InputError("data.x", dataset.x.shape, f"images (point, height, width, channel) for architecture {kind}")
    return dataset
