"""The experiment: everything one run depends on, read from a file or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationError, create_model, model_validator

from fwdmft.errors import NOTHING, InputError
from fwdmft.experiment.architecture import ArchitectureSpec
from fwdmft.experiment.base import Spec
from fwdmft.experiment.data import DatasetSpec
from fwdmft.experiment.halves import EnsembleSpec, TheorySpec
from fwdmft.experiment.loss import LossSpec, SquaredError
from fwdmft.experiment.messages import input_error
from fwdmft.experiment.optimizer import OptimizerSpec
from fwdmft.experiment.parameterization import MeanField, ParameterizationSpec
from fwdmft.experiment.reading import read_mapping
from fwdmft.registry import SECTIONS, Registry, check_kind, registry


def _installed_observable(name: str) -> str:
    try:
        registry().get("observable", name)
    except InputError as problem:
        raise InputError("", name, problem.expected) from None
    return name


ObservableName = Annotated[str, AfterValidator(_installed_observable)]
"""The name of an observable that is installed, see the hook `fwdmft_observables`."""


class Experiment(Spec):
    """One experiment. `experiment_model()` narrows the open sections to the installed kinds."""

    name: str = Field(min_length=1, description="Short name, used in titles and file names.")
    title: str = Field("", description="One line for people.")
    description: str = Field("", description="What this experiment shows.")
    architecture: ArchitectureSpec = Field(description="The network; `kind` chooses the plugin.")
    parameterization: ParameterizationSpec = Field(
        MeanField(), description="How feature learning and initial weights scale with width."
    )
    optimizer: OptimizerSpec = Field(description="How the network is trained.")
    loss: LossSpec = Field(SquaredError(), description="What training minimises.")
    data: DatasetSpec = Field(description="Training and test points.")
    observables: tuple[ObservableName, ...] = Field(
        (),
        description="Observables besides predictions and kernels, by the names that plugins give them (Sigma and b "
        "then come from draws).",
    )
    theory: TheorySpec | None = Field(None, description="The infinite-width theory; left out: not computed.")
    ensemble: EnsembleSpec | None = Field(None, description="Finite networks; left out: not trained.")

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def base(self) -> Path:
        """The directory from which the paths in this experiment are taken."""
        return self._base

    def __reduce__(self) -> tuple[Any, ...]:
        """The class is made at run time, from what is installed: a pickle holds the fields, validated when read."""
        return _restored, (self.model_dump(mode="json"), self._base)

    @model_validator(mode="after")
    def _something_to_do(self) -> Experiment:
        if self.theory is None and self.ensemble is None:
            raise InputError("theory", NOTHING, "theory or ensemble (or both) to be given")
        if len(set(self.observables)) < len(self.observables):
            raise InputError("observables", list(self.observables), "each name once")
        return self


def experiment_model() -> type[Experiment]:
    """The experiment with its open sections narrowed to what is installed."""
    return _model_of(registry())


@cache
def _model_of(installed: Registry) -> type[Experiment]:
    narrowed: dict[str, Any] = {name: (_union(installed, name), _copy_of_field(name)) for name in SECTIONS}
    return create_model("Experiment", __base__=Experiment, __doc__=Experiment.__doc__, **narrowed)


def _union(installed: Registry, section: str) -> Any:
    """One of the installed schemas by `kind`; unknown and broken kinds get the registry's message."""
    schemas = installed.schemas(section) or [SECTIONS[section].base]
    checked = BeforeValidator(partial(check_kind, section))
    if len(schemas) == 1:
        return Annotated[schemas[0], checked]
    return Annotated[Union[tuple(schemas)], Field(discriminator="kind"), checked]  # noqa: UP007


def _copy_of_field(name: str) -> Any:
    original = Experiment.model_fields[name]
    return Field(original.default, description=original.description)


def _restored(values: dict[str, Any], base: Path) -> Experiment:
    return load_experiment(values, base)


def load_experiment(source: str | Path | Mapping[str, Any], base: str | Path | None = None) -> Experiment:
    """Read and validate an experiment from a YAML or JSON file, or from a mapping.

    `base` is the directory relative data paths start from: by default the file's own, or the current one for
    a mapping. Raises InputError with one line per problem.
    """
    if isinstance(source, Mapping):
        values, home = dict(source), Path.cwd()
    else:
        values, home = read_mapping(Path(source)), Path(source).resolve().parent
    if "base" in values and "architecture" not in values:
        raise InputError("experiment", "a sweep", "an experiment; `fwdmft sweep` takes sweeps, which have a field base")
    model = experiment_model()
    try:
        experiment = model.model_validate(values)
    except ValidationError as error:
        raise input_error(error, model, values) from None
    experiment._base = home if base is None else Path(base).resolve()
    return experiment
