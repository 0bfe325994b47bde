"""Which positions kernels and pooling read. Positions of an image are numbered row by row."""

from __future__ import annotations

from fwdmft.plugin import InputError, Stencil
from fwdmft_cnn.schema import Cnn

Size = tuple[int, int]
"""Height and width."""


def sizes(spec: Cnn, size: Size) -> list[tuple[Size, Size]]:
    """Of each layer, before and after its pooling.

    Raises InputError when pooling leaves nothing of the image, or when kernels are far larger than it.
    """
    largest = 2 * max(size) + 1
    if spec.kernel_size > largest:
        expected = f"at most {largest} on images of {size[0]}x{size[1]} pixels, as all else of a kernel reads padding"
        raise InputError("architecture.kernel_size", spec.kernel_size, expected)
    layers = []
    for layer in range(spec.depth):
        before = _strided(size, spec.stride)
        size = before
        if spec.pooling == "average":
            size = before[0] // 2, before[1] // 2
            if min(size) == 0:
                has = f"images on which layer {layer + 1} has at least 2x2 positions (it has {before[0]}x{before[1]})"
                raise InputError("architecture.pooling", spec.pooling, has)
        layers.append((before, size))
    return layers


def geometry(spec: Cnn, size: Size) -> tuple[list[Stencil], list[Stencil]]:
    """What each layer's weights read of the layer below (of the image, at first), and what is averaged after each.

    size: of images. Raises InputError as `sizes` does.
    """
    layers = sizes(spec, size)
    below = [size, *(after for _, after in layers[:-1])]
    pool = _blocks if spec.pooling == "average" else _all
    pools = [pool(before) for before, _ in layers]
    if spec.readout == "global_average":
        pools[-1] = _averaged(pools[-1])
    return [_convolution(spec, each) for each in below], pools


def _strided(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


def _convolution(spec: Cnn, size: Size) -> Stencil:
    """Offsets run over the kernel row by row; its middle is on the place where it is applied."""
    rows, columns = _strided(size, spec.stride)
    offsets = [k - (spec.kernel_size - 1) // 2 for k in range(spec.kernel_size)]

    def position(i: int, j: int) -> int:
        if spec.padding == "circular":
            i, j = i % size[0], j % size[1]
        return i * size[1] + j if 0 <= i < size[0] and 0 <= j < size[1] else -1

    reads = [
        tuple(position(i * spec.stride + di, j * spec.stride + dj) for i in range(rows) for j in range(columns))
        for di in offsets
        for dj in offsets
    ]
    return Stencil(tuple(reads), size[0] * size[1])


def _blocks(size: Size) -> Stencil:
    places = [(i, j) for i in range(0, size[0] - 1, 2) for j in range(0, size[1] - 1, 2)]
    reads = [tuple((i + di) * size[1] + j + dj for i, j in places) for di in (0, 1) for dj in (0, 1)]
    return Stencil(tuple(reads), size[0] * size[1])


def _all(size: Size) -> Stencil:
    return Stencil((tuple(range(size[0] * size[1])),), size[0] * size[1])


def _averaged(pool: Stencil) -> Stencil:
    """The mean over what a pool leaves: over all that it reads."""
    return Stencil(tuple((position,) for offset in pool.reads for position in offset), pool.sources)
