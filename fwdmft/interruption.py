"""Ending soon after a signal, whatever the program is doing, with no half files left.

Python runs a handler between two steps of the main thread, which compiled code can keep busy for long, and an
exception thrown into the middle of a library can leave a lock behind that the end of the program waits for. So no
exception is thrown: a thread waits for the signal, removes what is half written and ends the process. What else is on
the disk is whole (see `fwdmft.files`). For command lines alone; nothing here imports more than a few modules.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from fwdmft.files import remove_unfinished

_SHOW_CURSOR = "\x1b[?25h"  # progress bars hide it
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_words: list[Callable[[], str]] = []


@cache
def end_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end this process with exit code 128 + signal; for its main thread.

    Signals that whoever started the process has chosen to ignore (nohup, `&` in scripts) stay ignored.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _noted)
    threading.Thread(target=_wait, args=(reading,), daemon=True, name="signals").start()


@contextmanager
def parting_words(words: Callable[[], str]) -> Iterator[None]:
    """What to tell the user at a signal that comes within this block ("" for nothing)."""
    _words.append(words)
    try:
        yield
    finally:
        _words.remove(words)


def end(code: int, message: str = "") -> None:
    """End the process now: no handlers, no waiting for threads. Half files go."""
    if message:
        cursor = _SHOW_CURSOR if os.isatty(2) else ""
        os.write(2, f"{cursor}{message}\n".encode("ascii", "replace"))
    remove_unfinished()
    os._exit(code)


def _noted(number: int, frame: object) -> None:
    """Python writes the number of the signal into the pipe because there is a handler."""


def _wait(reading: int) -> None:
    number = os.read(reading, 1)[0]
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    said = [words() for words in _words]
    end(128 + number, "; ".join([f"\n{what}" if os.isatty(2) else what, *filter(None, said)]))
