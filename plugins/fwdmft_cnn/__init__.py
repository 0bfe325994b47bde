"""Convolutional networks."""

from __future__ import annotations

from typing import Any

from fwdmft import hookimpl
from fwdmft.registry import Architecture
from fwdmft_cnn.schema import Cnn


def _field_equations(*arguments: Any) -> Any:
    from fwdmft_cnn.equations import field_equations

    return field_equations(*arguments)


def _model(*arguments: Any) -> Any:
    from fwdmft_cnn.model import model

    return model(*arguments)


@hookimpl
def fwdmft_architectures() -> list[Architecture]:
    return [Architecture(Cnn, _field_equations, _model, images=True)]
