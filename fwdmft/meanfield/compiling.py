"""Programs that take longer to compile than to run."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax

QUICK: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}
"""Leaves out an optimisation that takes a third of the time to compile; numbers change in the last digits."""


@cache
def quickly(function: Callable[..., Any], *static: int) -> Callable[..., Any]:
    """The function compiled without an optimisation that gains nothing here.

    static: positions of arguments that are no arrays.
    """
    return jax.jit(function, static_argnums=static, compiler_options=QUICK if _accepted() else {})


@cache
def _accepted() -> bool:
    """Options belong to XLA's backend for processors, and which ones it knows changes between versions."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0.0, compiler_options=QUICK).lower().compile()
    except Exception:
        return False
    return True
