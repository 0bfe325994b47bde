"""How programs are compiled for processors.

Options belong to XLA's backend for processors, and which ones it knows changes between versions: those that it does not
know are left out.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax

SAFE: dict[str, Any] = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""Takes products of matrices alone from a library of kernels with which sums of products of seven axes end the process
(jaxlib 0.10.2, 0.11.0). Its products are up to twice as fast as others."""

QUICK: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}
"""Leaves out optimisations that take half of the time to compile and gain nothing where most of the work is products of
matrices; numbers change in the last digits."""


def jitted(function: Callable[..., Any], quick: bool = False, static: tuple[int, ...] = ()) -> jax.stages.Wrapped:
    """The function, compiled with `SAFE`, if asked also with `QUICK`. static: positions of arguments without arrays."""
    options = SAFE | QUICK if quick else SAFE
    known = {name: value for name, value in options.items() if _is_known(name)}
    return jax.jit(function, static_argnums=static, compiler_options=known)


def quickly(function: Callable[..., Any], static: tuple[int, ...] = ()) -> Callable[..., Any]:
    """The function compiled with `QUICK`, once for all callers: of programs of the theory, many of which take longer to
    compile than to run."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return _program(function, static)(*arguments)

    return call


@cache
def _program(function: Callable[..., Any], static: tuple[int, ...]) -> Callable[..., Any]:
    return jitted(function, quick=True, static=static)


@cache
def _is_known(option: str) -> bool:
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0.0, compiler_options={option: (SAFE | QUICK)[option]}).lower().compile()
    except Exception:
        return False
    return True
