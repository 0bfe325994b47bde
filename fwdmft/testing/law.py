"""What a law is."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from fwdmft.testing.agreement import Comparison, recording
from fwdmft.testing.case import Case


@dataclass(frozen=True)
class Law:
    """A statement about an architecture, called with a case; float64 whatever JAX is set to elsewhere."""

    check: Callable[[Case], None]

    def __call__(self, case: Case) -> list[Comparison]:
        """What was compared. Raises AssertionError with what was found if the law does not hold."""
        with jax.enable_x64(True), recording() as compared:
            self.check(case)
        return compared

    def __str__(self) -> str:
        return self.check.__name__
