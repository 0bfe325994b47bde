"""Laws of small random matrices that tests have in common."""

from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.stencil import Stencil

LAW = MatrixPrior(sigma=1.3, ratio=0.75, tolerance=0.0)
BANK = LAW._replace(stencil=Stencil(((0, 1), (1, -1)), 2))
"""Two offsets and two positions; beyond the second there is nothing."""
IN, OUT = 3, 4
