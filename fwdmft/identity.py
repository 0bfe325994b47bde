"""What results depend on, by name: a checkpoint is of these, and workers of a cluster must have the same."""

import hashlib
from collections.abc import Iterator

from fwdmft import registry
from fwdmft.datasets import Dataset
from fwdmft.experiment.model import Experiment
from fwdmft.optimization import Plan
from fwdmft.versions import installed_version


def identity(experiment: Experiment, dataset: Dataset, plan: Plan) -> dict[str, str]:
    """The experiment, and what else its results depend on, by name."""
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
        **{f"plugin of {what}": " ".join(plugin) for what, plugin in plugins_of(experiment).items()},
    }


def plugins_of(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Name and version of the plugin of everything that the experiment names: {"loss parity": ("parity", "0.1.0")}."""
    return {f"{section} {name}": _plugin_of(section, name) for section, name in _named(experiment)}


def _plugin_of(section: str, name: str) -> tuple[str, str]:
    provider = registry.registry().provider(section, name)
    return provider.name, provider.version or installed_version(provider.distribution)


def _named(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """What is registered by fwdmft or plugins and named in the experiment: section of the registry, name."""
    for section in registry.SECTIONS:
        yield section, getattr(experiment, section).kind
    for activation in experiment.architecture.activations():
        yield "activation", activation
    for observable in experiment.observables:
        yield "observable", observable
