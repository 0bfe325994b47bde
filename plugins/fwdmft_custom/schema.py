"""Schema of networks that the user brings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fwdmft.plugin import ArchitectureSpec


def _importable(value: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
        raise ValueError("a function as module:name, such as my_networks:residual")
    return value


class Custom(ArchitectureSpec):
    """A network of the user's own: ensembles are trained and measured, there is no theory."""

    kind: Literal["custom"] = Field("custom", description="A network of the user's own.")
    network: Annotated[str, AfterValidator(_importable)] = Field(
        description="Function module:name that is called with a width N and a key and returns an Equinox or Flax nnx "
        "module, which is called on one point x (feature) and whose outputs are of order N^(-1/2) at first, like "
        "w . phi(W x / sqrt(D)) / N with normal weights; the module is one that is installed, or a file beside the "
        "experiment."
    )

    def locate(self, home: Path) -> None:
        from fwdmft_custom.loading import locate

        locate(self.network, home)

    def fingerprint(self) -> str:
        from fwdmft_custom.loading import source_hash

        return source_hash(self.network)
