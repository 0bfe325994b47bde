"""Code that is not ours: what plugins do wrong is told with their name, and takes nothing else down."""

from __future__ import annotations

import signal
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from fwdmft.errors import FwdmftWarning

GROUP = "fwdmft"
"""The group of entry points that makes a module a plugin."""

PATIENCE = 5.0
"""Seconds that a plugin may take to load before the user is told which one it is."""


def origin(point: EntryPoint) -> str:
    """The distribution that an entry point is from, with its version."""
    return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}".strip()


def culprit(error: BaseException) -> str | None:
    """The plugin whose code an exception came through, innermost first, as words; None if it is ours alone."""
    others = (point for point in entry_points(group=GROUP) if point.dist is None or point.dist.name != "fwdmft")
    packages = {point.module.partition(".")[0]: point for point in others}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        point = packages.get(frame.f_globals.get("__name__", "").partition(".")[0])
        if point is not None:
            return f"plugin {point.name!r} ({origin(point)})"
    return None


def by_the_user(error: BaseException) -> bool:
    """Whether this is a KeyboardInterrupt that Ctrl-C can have caused, and not code that raised one.

    Where signals end the process (see `fwdmft.interruption`), no KeyboardInterrupt is the user's.
    """
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@contextmanager
def warned_if_slow(what: str, advice: str) -> Iterator[None]:
    """Warn, naming what is loaded, when this block takes longer than `PATIENCE`."""
    words = f"{what} has been loading for {PATIENCE:g} seconds; {advice}"
    timer = threading.Timer(PATIENCE, warnings.warn, (words, FwdmftWarning))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
