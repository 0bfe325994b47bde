"""Memory mappings, of which each compiled program takes some: a process that has more than Linux allows ends."""

import gc
from pathlib import Path

MOST = 20_000
"""Mappings of a process beyond which compiled programs are forgotten: Linux allows 65 530."""


def forget_programs() -> None:
    """Forget what JAX compiled, if it is much."""
    if _mappings() > MOST:
        import jax

        gc.collect()
        jax.clear_caches()
        gc.collect()


def _mappings() -> int:
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return MOST + 1
