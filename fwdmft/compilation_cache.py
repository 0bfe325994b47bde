"""Compiled programs kept between commands: the second run of experiments of the same shape compiles nothing.

For the command line alone: the library leaves JAX's settings, of which this is one, to its user.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import platformdirs

from fwdmft.errors import InputError

VARIABLE = "FWDMFT_COMPILATION_CACHE"
OFF = "off"
LIMIT = 1 << 30
"""Bytes from which the oldest half of the programs goes."""


def cache_directory(choice: str | None) -> Path | None:
    """The directory for compiled programs, made if missing, or None for no cache.

    choice: a directory, "off", or None for the default: JAX's own if the environment names one, else a folder in the
    user's cache directory, if that can be written to. Raises InputError for a chosen one that cannot.
    """
    if choice == OFF:
        return None
    if choice is None and "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    # Programs are made for the instructions of one processor, and home directories are shared between machines.
    home = Path(choice) if choice else platformdirs.user_cache_path("fwdmft") / "compiled"
    place = home / _processor()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        if choice is None:
            return None
        expected = f"a directory that can be written to, or {OFF} ({problem.strerror})"
        raise InputError("compilation-cache", choice, expected) from None
    if not os.access(place, os.W_OK | os.X_OK):
        if choice is None:
            return None
        raise InputError("compilation-cache", choice, f"a directory that can be written to, or {OFF}")
    _forget_old(place)
    return place


def use_cache(directory: str | os.PathLike[str] | None) -> None:
    """Let JAX keep every program it compiles in this directory."""
    import jax

    if directory is not None:
        jax.config.update("jax_compilation_cache_dir", os.fspath(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
    """A name for the kind of processor of this machine."""
    facts = [platform.machine(), platform.processor()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return sha256("\n".join(facts).encode()).hexdigest()[:16]


def _forget_old(place: Path) -> None:
    with suppress(OSError):  # another command may be doing the same
        entries = sorted((entry for entry in place.iterdir() if entry.is_file()), key=lambda one: one.stat().st_mtime)
        if sum(entry.stat().st_size for entry in entries) > LIMIT:
            for entry in entries[: len(entries) // 2]:
                entry.unlink(missing_ok=True)
