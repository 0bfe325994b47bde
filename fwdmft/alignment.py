"""Kernel-target alignment: the cosine between a kernel and y y^T, with targets y.

Source: Cortes, Mohri & Rostamizadeh 2012 (J. Mach. Learn. Res. 13, 795), without their centring of the kernel, as in
Cristianini, Shawe-Taylor, Elisseeff & Kandola 2001 (NeurIPS 14).
"""

import math
from typing import Any


def alignment(kernel: Any, y: Any, undefined: float = math.nan) -> Any:
    """sum_c y_c^T K y_c / (|y|^2 |K|_F) of every matrix K, (...).

    kernel: matrices (..., n, n). y: targets (n, output). Both are arrays of NumPy, or both of JAX.
    undefined: the value for a kernel, or targets, that vanish.
    """
    numpy = kernel.__array_namespace__()
    overlap = numpy.einsum("ic,...ij,jc->...", y, kernel, y)
    size = numpy.sum(y**2) * numpy.sqrt(numpy.sum(kernel**2, axis=(-2, -1)))
    return numpy.where(size == 0, undefined, overlap / numpy.where(size == 0, 1.0, size))


def tangent_alignment(kernel: Any, y: Any) -> Any:
    """The same of kernels (..., P, C, P, C), which are matrices over pairs of a point and an output, with y (P, C)."""
    return alignment(kernel.reshape(*kernel.shape[:-4], y.size, y.size), y.reshape(-1, 1))
