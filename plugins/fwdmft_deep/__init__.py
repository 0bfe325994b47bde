"""Fully connected networks of any depth."""

from __future__ import annotations

from typing import Any

from fwdmft import hookimpl
from fwdmft.registry import Architecture
from fwdmft_deep.schema import Deep


def _field_equations(*arguments: Any) -> Any:
    from fwdmft_deep.equations import field_equations

    return field_equations(*arguments)


def _model(*arguments: Any) -> Any:
    from fwdmft_deep.model import model

    return model(*arguments)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    return [Architecture(Deep, _field_equations, _model)]
