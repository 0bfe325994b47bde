"""The two ways a run can go wrong, each with its exit code and a message written for the user."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_VALUE = 120


class _Nothing:
    """Stands for a value that was not given at all, which differs from a given `None`."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


class FwdmftError(Exception):
    """An error whose text is meant for the user; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(FwdmftError, ValueError):
    """Input that cannot be used: names the field, the value found and what was expected there.

    It is a `ValueError`, so a pydantic validator may raise it; its `field` is then relative to the place that
    validator guards (an empty field means that very place).
    """

    exit_code = 2

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        self.problems: tuple[InputError, ...] = (self,)
        super().__init__(f"{field}: got {shortened(value)}; expected {expected}")

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds the words for values, which may be anything."""
        details = [(one.field, shortened(one.value), one.expected) for one in self.problems]
        return _input_error, (details, str(self))

    @classmethod
    def of(cls, problems: Iterable[InputError], left: int = 0) -> InputError:
        """One error reporting several problems, a line each (a single problem is returned as it is).

        left: number of further problems that are not told.
        """
        every = tuple(problems)
        if len(every) == 1 and not left:
            return every[0]
        error = cls(every[0].field, every[0].value, every[0].expected)
        error.problems = every
        more = [f"and {left} more problems"] if left else []
        error.args = ("\n".join([*map(str, every), *more]),)
        return error


class ComputationError(FwdmftError):
    """A computation that was well posed but failed, for example training that diverged."""


class WritingError(FwdmftError):
    """What was computed could not be written."""


class FwdmftWarning(UserWarning):
    """Something the user should know, while the computation goes on."""


class ClusterError(FwdmftError):
    """The workers of a cluster, or the way to them, failed; what was computed before can be kept."""


class PluginError(FwdmftError):
    """A plugin does not keep to what it has to supply."""


class Plain(str):
    """Text that describes a value and is shown without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


def shortened(value: object) -> str:
    """`repr(value)` cut to a length that keeps a message on about one line."""
    text = repr(str(value)) if hasattr(value, "__fspath__") else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _input_error(details: list[tuple[str, str, str]], text: str) -> InputError:
    error = InputError.of(InputError(field, Plain(value), expected) for field, value, expected in details)
    error.args = (text,)
    return error
