"""Errors of plugins, which name the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fwdmft.errors import FwdmftError
from fwdmft.registry import registry


class PluginError(FwdmftError):
    """A plugin failed where it was asked for its part of an experiment."""


@contextmanager
def blaming(section: str, kind: str, what: str) -> Iterator[None]:
    """Let what goes wrong inside be known as the failure of the plugin that registers this kind.

    Errors that a plugin raises for users pass as they are. what: the function of the plugin that is called.
    """
    try:
        yield
    except (FwdmftError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        report = registry().provider(section, kind)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise PluginError(f"plugin {report.name!r} ({report.origin}) failed in {what} of {kind!r}: {reason}") from error
