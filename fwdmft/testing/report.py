"""Every law on one architecture, and what came of it, for people."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from fwdmft.testing.agreement import Comparison
from fwdmft.testing.case import Case
from fwdmft.testing.law import Law

SHOWN = 5
"""Names of quantities that are told, of those that a law compares."""


@dataclass(frozen=True)
class Outcome:
    """A law, what it compared (as far as it came), why it does not hold, or None, and how long that took."""

    law: Law
    compared: list[Comparison]
    failure: str | None
    seconds: float


def check(case: Case, laws: Iterable[Law]) -> Iterator[Outcome]:
    """Law by law."""
    for law in laws:
        start, compared, failure = time.perf_counter(), list[Comparison](), None
        try:
            compared = law(case)
        except AssertionError as broken:
            failure = " ".join(str(broken).split())
        except Exception as error:
            failure = " ".join(f"could not be checked, {type(error).__name__}: {error}".split())
        yield Outcome(law, compared, failure, time.perf_counter() - start)


def table(title: str, outcomes: Iterable[Outcome], each: Callable[[Outcome], None] = lambda one: None) -> Table:
    """Outcomes as a table; each: told as they come."""
    shown = Table("law", "compared", "largest difference", "seconds", "", title=title, title_justify="left")
    for one in outcomes:
        each(one)
        names = list(dict.fromkeys(compared.of for compared in one.compared))
        if len(names) > SHOWN:
            names[SHOWN:] = [f"{len(names) - SHOWN} more"]
        shown.add_row(
            Text(str(one.law).replace("_", " ")),
            Text(", ".join(names)),
            Text(largest(one)),
            f"{one.seconds:.1f}",
            Text("holds", "green") if one.failure is None else Text("FAILS", "bold red"),
        )
    return shown


def largest(one: Outcome) -> str:
    """The largest difference in units of what is allowed, in words, or the failure."""
    if one.failure is not None:
        return one.failure
    worst = max(one.compared, key=lambda compared: compared.share, default=None)
    return "" if worst is None else f"{worst.of}: {worst.words}"


def title(case: Case) -> str:
    """What is checked."""
    settings = ", ".join(f"{name} {value}" for name, value in case.schema.model_dump().items() if name != "kind")
    shape = " x ".join(map(str, case.x.shape[1:]))
    rate, steps = case.plan.learning_rates[0], len(case.plan.learning_rates)
    return f"{case}: {settings or 'no fields'}; {len(case.x)} points of {shape}; {steps} steps, learning rate {rate:g}"
