"""What results depend on, by name: a checkpoint is of these, and workers of a cluster must have the same."""

import hashlib

from fwdmft import registry
from fwdmft.datasets import Dataset
from fwdmft.experiment.model import Experiment
from fwdmft.optimization import Plan
from fwdmft.versions import installed_version


def identity(experiment: Experiment, dataset: Dataset, plan: Plan) -> dict[str, str]:
    """The experiment, and what else its results depend on, by name."""
    provider = registry.registry().provider("architecture", experiment.architecture.kind)
    data = hashlib.sha256()
    for array in (dataset.x, dataset.y, dataset.train, *(plan.stream or ())):
        data.update(repr((array.shape, array.dtype)).encode())
        data.update(array.tobytes())
    fingerprint = experiment.architecture.fingerprint()
    return ({"code of the network": fingerprint} if fingerprint else {}) | {
        "experiment": experiment.model_dump_json(exclude={"name", "title", "description"}),
        "data": data.hexdigest(),
        "version of fwdmft": installed_version("fwdmft"),
        "version of jax": installed_version("jax"),
        "observables": ", ".join(registry.registry().origin("observable", name) for name in experiment.observables),
        "plugin": f"{provider.name} {provider.version or installed_version(provider.distribution)}",
    }
