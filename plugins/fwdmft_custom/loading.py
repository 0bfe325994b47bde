"""Importing what the user names, and telling what is wrong with it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fwdmft.errors import InputError
from fwdmft.plugin_code import by_the_user, told_if_slow


def refused(network: str, expected: str, error: BaseException | None = None) -> InputError:
    """What is wrong with the network of the experiment; `error` is what its code raised."""
    if error is None:
        return InputError("architecture.network", network, expected)
    first = str(error).strip().partition("\n")[0]
    return InputError("architecture.network", network, f"{expected} ({type(error).__name__}: {first})")


@cache
def function(network: str) -> Callable[..., Any]:
    """The function module:name, looked for in what is installed, then in the current directory.

    Raises InputError where there is none, or its module cannot be imported, whatever the module does.
    """
    module, _, name = network.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with told_if_slow(f"network {network!r}", "stop it if it never ends"):
            found = getattr(import_module(module), name, None)
    except BaseException as error:  # SystemExit too: this code does not decide when the program ends
        if by_the_user(error):
            raise
        raise refused(network, "a function that can be imported", error) from error
    if not callable(found):
        raise refused(network, f"the name of a function in {module}")
    return found


def source_hash(network: str) -> str:
    """Hash of the module that the function is in: what is trained depends on it."""
    try:
        source = inspect.getsource(sys.modules[function(network).__module__])
    except (OSError, TypeError, KeyError):
        return "unknown"
    return hashlib.sha256(source.encode()).hexdigest()
