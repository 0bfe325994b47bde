"""What results depend on, by name: a checkpoint is of these, and workers of a cluster must have the same."""

import hashlib
from importlib.metadata import PackageNotFoundError, version

from fwdmft import registry
from fwdmft.datasets import Dataset
from fwdmft.experiment.model import Experiment
from fwdmft.optimization import Plan


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
        "version of fwdmft": version_of("fwdmft"),
        "version of jax": version_of("jax"),
        "observables": ", ".join(registry.registry().origin("observable", name) for name in experiment.observables),
        "plugin": f"{provider.name} {provider.version or version_of(provider.distribution)}",
    }


def version_of(distribution: str) -> str:
    """The version of an installed distribution, or "unknown"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
