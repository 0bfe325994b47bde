"""Blocks of vectors that random matrices act on at once, and the room they need."""

from fwdmft.engine import capacity
from fwdmft.engine.field_equations import Pairs
from fwdmft.program.structure import Structure

FEW_ROWS = 128
"""Rows of a basis that cost little."""


def block_sizes(structure: Structure, points: int, outputs: int) -> list[list[tuple[int, int]]]:
    """Vectors that each use of each matrix acts on at once, forward and backward."""
    sizes = []
    for matrix in structure.matrices:
        each = [points * matrix.vectors(use) for use in range(len(matrix.uses))]
        sizes.append([(n * matrix.stencil.sources, n * matrix.stencil.places * outputs) for n in each])
    return sizes


def totals(blocks: list[tuple[int, int]]) -> tuple[int, int]:
    """Of all uses in a step."""
    return sum(each[0] for each in blocks), sum(each[1] for each in blocks)


def first_capacities(structure: Structure, points: int, outputs: int) -> Pairs:
    """Bases start with room for several times the vectors of a step, as is usual, or once over for many positions.

    Where vectors are few, more room costs less than to compile another program when it is needed.
    """
    steps = [totals(blocks) for blocks in block_sizes(structure, points, outputs)]
    many = any(matrix.stencil.sources > 1 for matrix in structure.matrices)
    return capacity.at_first(steps, 1) if many else capacity.at_first(steps, 7, FEW_ROWS)
