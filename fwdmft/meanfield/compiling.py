"""How hard XLA is to try: small problems take longer to compile than to run.

Numbers change in the last digits with the options, so what decides on them is the size of a problem, never a clock.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax

CHEAP: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Programs compiled so take a third of the time to compile, and up to twice the time to run."""

SMALL = 2e5
"""Numbers per pass (fields of all neurons at all steps) up to which `CHEAP` saves time over a whole experiment."""


@cache
def quickly(function: Callable[..., Any], *static: int) -> Callable[..., Any]:
    """The function compiled without an optimisation that takes a third of the time and gains nothing here.

    static: positions of arguments that are no arrays.
    """
    options = {name: CHEAP[name] for name in ("xla_cpu_use_fusion_emitters",)} if _accepted() else {}
    return jax.jit(function, static_argnums=static, compiler_options=options)


def compiler_options(numbers: float) -> dict[str, Any]:
    """For programs whose passes go through so many numbers."""
    return CHEAP if numbers < SMALL and _accepted() else {}


@cache
def _accepted() -> bool:
    """Options belong to XLA's backend for processors, and which ones it knows changes between versions."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0.0, compiler_options=CHEAP).lower().compile()
    except Exception:
        return False
    return True
