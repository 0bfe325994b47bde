"""Importing what the user names, and telling what is wrong with it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fwdmft.plugin import InputError, by_the_user, warned_if_slow


def refused(network: str, expected: str, error: BaseException | None = None) -> InputError:
    """What is wrong with the network of the experiment; `error` is what its code raised."""
    if error is None:
        return InputError("architecture.network", network, expected)
    first = str(error).strip().partition("\n")[0]
    return InputError("architecture.network", network, f"{expected} ({type(error).__name__}: {first})")


@contextmanager
def refusing(network: str, expected: str) -> Iterator[None]:
    """What the user's code raises, SystemExit too, is InputError: it does not decide when the program ends."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if by_the_user(error):
            raise
        raise refused(network, expected, error) from error


def locate(network: str, home: Path) -> None:
    """Import the module of module:name, which may be a file or a package in the directory `home`.

    Raises InputError where that fails, or where Python has another module of this name.
    """
    if str(home) not in sys.path:
        sys.path.append(str(home))
    function(network)
    name = network.partition(":")[0].partition(".")[0]
    beside = [path.resolve() for path in (home / f"{name}.py", home / name / "__init__.py") if path.exists()]
    file = getattr(sys.modules.get(name), "__file__", None)
    if beside and (file is None or Path(file).resolve() not in beside):
        raise refused(network, f"another name of {beside[0]}, as Python has a module {name} from {file or 'elsewhere'}")


@cache
def function(network: str) -> Callable[..., Any]:
    """The function module:name. Raises InputError where there is none, or its module cannot be imported, whatever the
    module does."""
    module, _, name = network.partition(":")
    with (
        refusing(network, "a function that can be imported"),
        warned_if_slow(f"network {network!r}", "stop it if it never ends"),
    ):
        named = getattr(import_module(module), name, None)
    if not callable(named):
        raise refused(network, f"the name of a function in {module}")
    return named


def source_hash(network: str) -> str:
    """Hash of the module that the function is in: what is trained depends on it."""
    try:
        source = inspect.getsource(sys.modules[function(network).__module__])
    except (OSError, TypeError, KeyError):
        return "unknown"
    return hashlib.sha256(source.encode()).hexdigest()
