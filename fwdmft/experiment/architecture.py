"""Bases for the schemas of architectures, which plugins supply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from fwdmft.errors import InputError
from fwdmft.experiment.base import PositiveReal, Real, Spec

MOST_LAYERS = 256
"""Layers beyond which compiling a program of them takes longer than anybody waits."""


class _Installed:
    """Puts the names of the installed activations into a schema."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        from fwdmft.registry import registry

        return {"type": "string", "enum": registry().kinds("activation")}


def _installed(name: str) -> str:
    from fwdmft.registry import registry

    try:
        registry().get("activation", name)
    except InputError as problem:
        raise InputError("", name, problem.expected) from None
    return name


ActivationName = Annotated[str, AfterValidator(_installed), _Installed]
"""The name of an activation that is installed, see the hook `fwdmft_activations`."""


class ArchitectureSpec(Spec):
    """An architecture; a plugin's schema narrows `kind` to its own name, `kind: Literal["mlp"] = "mlp"`."""

    kind: str = Field(description="Name of the architecture.")

    def locate(self, home: Path) -> None:
        """Called before anything is built, with the directory of the experiment: code named in these fields is looked
        for there. Raises InputError where it is not found."""

    def fingerprint(self) -> str:
        """What the network depends on beyond these fields and the plugin, such as a hash of code; "" for nothing."""
        return ""

    def activations(self) -> tuple[str, ...]:
        """The registered activations that these fields name."""
        fields = type(self).model_fields.items()
        return tuple(getattr(self, name) for name, info in fields if _Installed in info.metadata)

    def unobserved(self) -> tuple[str, ...]:
        """Names among `Architecture(observables=...)` that are not observed with these settings."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """What users should know of the theory of these networks: sentences that `run` and `validate` show as warnings.

        Each begins with the field that it is about, without the section: "scores: linear attention ...".
        """
        return ()


class ActivatedArchitecture(ArchitectureSpec):
    """An architecture with one activation function, c phi(a h)/a."""

    activation: ActivationName = Field("tanh", description="Activation function phi.")
    scale: PositiveReal = Field(1.0, description="Input scale a of the activation, phi(a h)/a (dimensionless).")
    gain: Real = Field(
        1.0, description="Factor c of the activation, c phi(h) (dimensionless; sqrt(2) is usual for relu)."
    )
