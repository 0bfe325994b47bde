"""Foreseeing memory: an estimate before a run, compared with what the machine has."""

import os
from collections import Counter

import jax

from fwdmft.corrections.controls import COMPONENTS
from fwdmft.corrections.finite_width import draw_numbers
from fwdmft.corrections.sample_estimates import GROUPS
from fwdmft.engine import capacity as room
from fwdmft.engine.infinite_width import FEWEST, too_large_at_first
from fwdmft.engine.problem import TheoryTask
from fwdmft.errors import InputError
from fwdmft.machine import address_space, available_memory
from fwdmft.networks.ensemble import CONCURRENT, chunk_size, member_bytes, statistics_bytes
from fwdmft.networks.training import Task

BASE = 400 << 20
"""Bytes of the interpreter with its libraries, and of compiled programs."""


BUFFERS = 2
"""Copies of the bases: a step makes new ones from the old."""

LAZY_MATRICES = 4
"""Matrices between all points that the lazy limit takes: K, which moves its predictions, and what K is made of."""

ADDRESSES = 2 << 30
"""Bytes of address space without which JAX does not start, or ends the process from within."""


def device_kind() -> str:
    """The kind of device that JAX computes on. Raises InputError where it cannot start."""
    if address_space() < ADDRESSES:
        expected = f"at least {_gigabytes(ADDRESSES)} (ulimit -v), which JAX needs to start"
        raise InputError("address space", _gigabytes(address_space()), expected)
    try:
        return jax.devices()[0].device_kind
    except Exception as problem:  # of several types, with and without words
        wanted = os.environ.get("JAX_PLATFORMS", "")
        words = f"a platform that JAX finds on this machine, such as cpu ({str(problem) or 'it finds none of these'})"
        raise InputError("JAX_PLATFORMS", wanted, words) from None


def theory_bytes(task: TheoryTask) -> int:
    """Estimated peak memory of the theory: neurons, bases of random matrices, sums over draws, saved results."""
    points, outputs = task.y.shape
    saved, spec = len(task.times), task.spec
    neurons, layers = spec.neurons or FEWEST, max(1, len(task.equations.layers))
    shown = points if task.kernel_points is None else len(task.kernel_points)
    observables = saved * (points * outputs + shown**2 * (layers + (layers + 1) * outputs**2))
    total = 18 * neurons * task.site_numbers + (2 + spec.replicates) * observables
    matrices = task.at_infinite_width.matrices
    if spec.neurons is not None or not too_large_at_first(task):
        total += BUFFERS * room.numbers(matrices, room.expected(matrices, neurons), neurons)
    if task.lazy:
        total += LAZY_MATRICES * (points * outputs) ** 2
    if spec.responses:
        of_population = Counter(task.equations.layers).values()
        rows = len(task.equations.layers) + max(of_population) * points / spec.replicates
        total += int(3 * task.plan.steps * points * rows * neurons)
    if spec.fluctuations or spec.bias:
        total += draw_numbers(observables, COMPONENTS * len(task.equations.populations))
        if spec.fluctuations and spec.covariance:
            total += 4 * GROUPS * (saved * points * outputs) ** 2
    return 8 * total


def ensemble_bytes(task: Task, width: int, members: int) -> int:
    """Estimated peak memory of training one width."""
    return CONCURRENT * chunk_size(task, width, members) * member_bytes(task, width) + statistics_bytes(task)


def check_memory(needed: int, force: bool, lazy: bool = False) -> None:
    """Refuse a run that needs more than is available, unless forced. Raises InputError.

    lazy: whether it is the theory of a lazy limit, which no choice of kernel points makes small.
    """
    points = "take fewer points, as the lazy limit holds K between all of them" if lazy else "set theory.kernel_points"
    available = available_memory()
    if needed + BASE > available and not force:
        raise InputError(
            "memory",
            f"an estimated {_gigabytes(needed + BASE)}",
            f"at most the {_gigabytes(available)} that are available (of the machine, its "
            f"container and ulimit -v): {points}, raise theory.save_every, lower theory.neurons, "
            "set theory.covariance or ensemble.kernels to false (or ensemble.kernel_points), or force (--force)",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
