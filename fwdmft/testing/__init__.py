"""A test kit for architectures: laws that the theory and the networks of every plugin must obey.

A plugin's test module is a table of cases and one test:

    import pytest
    from fwdmft.testing import LAWS, Case, points, small_case
    from my_plugin import ARCHITECTURE

    CASES = [
        small_case(ARCHITECTURE, {"kind": "mine"}),
        Case("tanh", ARCHITECTURE, {"kind": "mine", "activation": "tanh"}, *points(3, 5)),
    ]

    @pytest.mark.parametrize("case", CASES, ids=str)
    @pytest.mark.parametrize("law", LAWS, ids=str)
    def test_law(law, case):
        law(case)

`small_case` fits any architecture, and all laws on it take about two minutes (`fwdmft check-plugin`). A `Case` with
more neurons and members is sharper. A law raises AssertionError with what it found, and returns what it compared.
Results that several laws need are computed once per case. Laws about the field equations hold to rounding, for any
number of neurons; `statistics` compares theory and networks within standard errors only (see
`fwdmft.testing.agreement`), so its sharpness is set by the case's neurons and members.
"""

from fwdmft.testing import dynamics, equations, networks, statistics
from fwdmft.testing.case import Case, points
from fwdmft.testing.law import Law
from fwdmft.testing.small import small_case

LAWS: tuple[Law, ...] = (*equations.LAWS, *dynamics.LAWS, *networks.LAWS, *statistics.LAWS)
"""Every law, the cheap ones first."""

__all__ = ["LAWS", "Case", "Law", "points", "small_case"]
