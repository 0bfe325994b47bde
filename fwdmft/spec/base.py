"""The base of every schema and the number types they share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def require_kind(schema: dict[str, Any]) -> None:
    """A discriminating `kind` is written out in files even though Python code may leave it to its default."""
    if "kind" in schema.get("properties", {}):
        schema["required"] = ["kind", *(name for name in schema.get("required", []) if name != "kind")]


class Spec(BaseModel):
    """An immutable part of an experiment. Unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=False,
        json_schema_extra=require_kind,
    )


def _refuse_bool(value: object) -> object:
    """`steps: yes` is a slip, not the number 1."""
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


Real = Annotated[float, BeforeValidator(_refuse_bool)]
PositiveReal = Annotated[Real, Field(gt=0)]
NonNegativeReal = Annotated[Real, Field(ge=0)]
Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0)]
