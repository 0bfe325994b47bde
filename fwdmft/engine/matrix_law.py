"""What is asked of a random matrix, whatever it is made of: its law, and its products."""

from typing import NamedTuple

from jaxtyping import Array, Float

from fwdmft.engine.stencil import POINT, Stencil


class MatrixPrior(NamedTuple):
    """Law of the initial matrix, and how closely vectors are resolved.

    sigma: standard deviation of the entries.
    ratio: N_in / N_out.
    tolerance: share of a vector's squared norm that a basis may leave out.
    stencil: what the matrices of a bank read.
    """

    sigma: float
    ratio: float
    tolerance: float | Float[Array, ""]
    stencil: Stencil = POINT

    def transposed(self) -> "MatrixPrior":
        return self._replace(ratio=1 / self.ratio, stencil=self.stencil.transposed)


class Product(NamedTuple):
    """W v / sqrt(N_in) for a block of vectors v, and their coordinates: v = sum_r coordinates_r E_r."""

    value: Float[Array, "vector place target"]
    coordinates: Float[Array, "capacity vector position"]
