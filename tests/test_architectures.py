"""Every law over every architecture."""

import pytest
from architectures import CASES, CHEAP, MORE

from fwdmft.testing import LAWS, Case, Law


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case).replace("-", "_"))
def test_law(law: Law, case: Case) -> None:
    law(case)


@pytest.mark.parametrize("law", [law for law in LAWS if str(law) in CHEAP], ids=str)
@pytest.mark.parametrize("case", MORE, ids=lambda case: str(case).replace("-", "_"))
def test_cheap_law(law: Law, case: Case) -> None:
    law(case)
