"""Versions of what is installed."""

from importlib.metadata import PackageNotFoundError, version


def installed_version(distribution: str) -> str:
    """The version of a distribution; "unknown" for one that is not installed, such as a plugin of a session."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
