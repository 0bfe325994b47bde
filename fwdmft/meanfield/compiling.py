"""Programs of the theory, many of which take longer to compile than to run."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax

QUICK: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    "xla_cpu_experimental_ynn_fusion_type": "",
}
"""The first two leave out optimisations that take half of the time to compile and gain nothing where most of the work
is products of matrices; numbers change in the last digits. The third one leaves out fusions that end the process with a
segmentation fault in float32 draws of transformers (jaxlib 0.10.2, `slinky::fuse_contiguous_dims`)."""


def quickly(function: Callable[..., Any], static: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The function compiled with `QUICK`, once for all callers. static: positions of arguments that are no arrays."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return _program(function, static)(*arguments)

    return call


@cache
def _program(function: Callable[..., Any], static: tuple[int, ...]) -> Callable[..., Any]:
    return jax.jit(function, static_argnums=static, compiler_options=_options())


@cache
def _options() -> dict[str, Any]:
    """Options belong to XLA's backend for processors, and which ones it knows changes between versions."""
    if jax.default_backend() != "cpu":
        return {}
    return {name: value for name, value in QUICK.items() if _accepted(name, value)}


def _accepted(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0.0, compiler_options={name: value}).lower().compile()
    except Exception:
        return False
    return True
