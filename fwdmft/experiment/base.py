"""The base of every schema and the number types they share, whose bounds keep products and allocations finite."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

LARGEST, SMALLEST = 1e15, 1e-15
"""Bounds on real parameters and on data: their squares are numbers in float32, in which networks may be trained."""

LARGEST_WHOLE = 2**32 - 1
"""Bound on whole numbers. Seeds beyond it would be cut to 32 bits by JAX."""


LARGEST_STEPS = 10**7
"""Bound on the number of steps, each of which is planned before the first."""


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


def _real(value: object) -> object:
    """Text is not a number, and a whole number may be too large to be a float."""
    if isinstance(value, str | bytes):
        raise ValueError("a number")
    if isinstance(value, int) and abs(value) > LARGEST:
        if value < 0:
            raise PydanticKnownError("greater_than_equal", {"ge": -LARGEST})
        raise PydanticKnownError("less_than_equal", {"le": LARGEST})
    return _refuse_bool(value)


def _whole(value: object) -> object:
    """Text is not a number; 1e3 is a whole number, however large."""
    if isinstance(value, str | bytes):
        raise ValueError("a whole number")
    return int(value) if isinstance(value, float) and value.is_integer() else _refuse_bool(value)


def _not_tiny(value: float) -> float:
    if value < SMALLEST:
        raise PydanticKnownError("greater_than_equal", {"ge": SMALLEST})
    return value


_is_real, _is_whole = BeforeValidator(_real), BeforeValidator(_whole)

# The validators come first: bounds that a field adds to those before a validator would replace them.
Real = Annotated[float, _is_real, Field(ge=-LARGEST, le=LARGEST)]
NonNegativeReal = Annotated[float, _is_real, Field(ge=0, le=LARGEST)]
PositiveReal = Annotated[float, _is_real, Field(gt=0, le=LARGEST), AfterValidator(_not_tiny)]
Whole = Annotated[int, _is_whole, Field(ge=0, le=LARGEST_WHOLE)]
Count = Annotated[int, _is_whole, Field(ge=1, le=LARGEST_WHOLE)]
Steps = Annotated[int, _is_whole, Field(ge=1, le=LARGEST_STEPS)]
Seed = Whole
FilePath = Annotated[str, Field(min_length=1, max_length=4096)]
