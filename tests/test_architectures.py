"""Every law over every architecture."""

import pytest
from architectures import CASES

from fwdmft.testing import LAWS, Case, Law


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case).replace("-", "_"))
def test_law(law: Law, case: Case) -> None:
    law(case)
