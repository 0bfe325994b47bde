"""Foreseeing memory: an estimate before a run, compared with what the machine has."""

import os
from collections import Counter
from typing import NamedTuple

import jax

from fwdmft.corrections.drawing import draw_numbers
from fwdmft.corrections.finite_width import NARROWEST
from fwdmft.corrections.from_response import SAMPLINGS, first_try, may_respond
from fwdmft.corrections.linear_response import MOST_NUMBERS, numbers
from fwdmft.corrections.sample_estimates import GROUPS
from fwdmft.corrections.samples import at_once, draw_size
from fwdmft.engine import capacity
from fwdmft.engine.field_equations import Pairs
from fwdmft.engine.infinite_width import most_neurons, simulation_numbers, too_large_at_first
from fwdmft.engine.problem import TheoryTask
from fwdmft.errors import InputError
from fwdmft.in_order import PROCESSORS
from fwdmft.in_order import TOGETHER as SIDE_BY_SIDE
from fwdmft.machine import available_memory, check_address_space, gigabytes
from fwdmft.networks.ensemble import CONCURRENT, chunk_size, member_bytes, statistics_bytes
from fwdmft.networks.training import Task

BASE = 700 << 20
"""Bytes of the interpreter with its libraries, and of compiled programs."""

PROGRAMS = 400 << 20
"""Bytes that programs with random matrices take besides."""

FIELDS, BUFFERS = 3, 2
"""Copies of the fields of a simulation, and of its bases: a step makes new ones from the old."""

DRAWN = 24
"""Copies of what a draw consists of, for a convolution, which keeps what every offset reads; others take 3 to 9."""

RESPONSE = 4
"""Copies of what the linear response keeps, about: expansions have several coefficients."""

DRAWN_WIDTH = 4 * NARROWEST
"""Width of networks in draws that is expected, unless the experiment names one."""

LAZY_MATRICES = 4
"""Matrices between all points that the lazy limit takes: K, which moves its predictions, and what K is made of."""


def device_kind() -> str:
    """The kind of device that JAX computes on. Raises InputError where it cannot start."""
    check_address_space()
    try:
        return jax.devices()[0].device_kind
    except Exception as problem:  # of several types, with and without words
        wanted = os.environ.get("JAX_PLATFORMS", "")
        words = f"a platform that JAX finds on this machine, such as cpu ({str(problem) or 'it finds none of these'})"
        raise InputError("JAX_PLATFORMS", wanted, words) from None


class Sizes(NamedTuple):
    """What the memory of the theory depends on. neurons: of a simulation, None for the most that there may be.

    None for what is expected: capacities of bases, width of draws, neurons of one system of the linear response.
    """

    neurons: int | None = None
    capacities: Pairs | None = None
    draw_width: int | None = None
    response_neurons: int | None = None


MOST_EXPECTED = Sizes()
"""Of a theory of which nothing is known but the experiment."""


def theory_bytes(task: TheoryTask, sizes: Sizes = MOST_EXPECTED) -> int:
    """Estimated peak memory of the theory: the costlier of large simulations and corrections, and results."""
    spec, matrices = task.spec, task.at_infinite_width.matrices
    neurons = sizes.neurons or most_neurons(task)
    observed = sum(a.size for a in task.observed.values())
    total = (2 + spec.replicates) * observed
    simulated = spec.neurons is not None or not too_large_at_first(task)
    stages = [_simulations(task, neurons, sizes.capacities or capacity.expected(matrices, neurons)) if simulated else 0]
    if task.lazy:
        total += LAZY_MATRICES * task.y.size**2
    if spec.responses:
        of_population = Counter(task.equations.layers).values()
        rows = len(task.equations.layers) + max(of_population) * len(task.y) / spec.replicates
        stages.append(int(3 * task.plan.steps * len(task.y) * rows * neurons))
    if spec.fluctuations or spec.bias:
        if may_respond(task):
            stages.append(_linear_response(task, sizes.response_neurons))
        else:
            stages.append(_draws(task, observed, sizes.draw_width or spec.draw_width or DRAWN_WIDTH))
        if spec.fluctuations and spec.covariance:
            total += 4 * GROUPS * (len(task.times) * task.y.size) ** 2
    return 8 * (total + max(stages)) + (PROGRAMS if matrices else 0)


def _simulations(task: TheoryTask, neurons: int, capacities: Pairs) -> int:
    """Numbers that large simulations hold, as many at a time as are side by side."""
    enlarged = task.at_infinite_width.with_capacities(capacities)
    each = FIELDS * neurons * task.site_numbers + BUFFERS * capacity.numbers(enlarged.matrices, neurons)
    counted = simulation_numbers(task, enlarged, neurons)
    return _side_by_side(each, counted, task.spec.replicates)


def _linear_response(task: TheoryTask, count: int | None) -> int:
    count = count or task.spec.neurons or first_try(task)
    held = min(numbers(task.equations, task.training(), count), MOST_NUMBERS)
    return _side_by_side(RESPONSE * held, held, SAMPLINGS)


def _draws(task: TheoryTask, observed: int, width: int) -> int:
    """Sums over draws, and networks of width n and r n under way in single precision."""
    size = draw_size(task.equations, task.site_numbers, width)
    return draw_numbers(observed) + PROCESSORS * at_once(size) * DRAWN * size // 2


def _side_by_side(each: int, counted: int, pieces: int) -> int:
    """Of all pieces of work that are under way at once, which are as many as `in_order.fitting_workers` allows for the
    numbers counted, or for pieces that are smaller."""
    return int(each * max(1.0, min(PROCESSORS, pieces, SIDE_BY_SIDE / counted)))


def ensemble_bytes(task: Task, width: int, members: int) -> int:
    """Estimated peak memory of training one width."""
    return CONCURRENT * chunk_size(task, width, members) * member_bytes(task, width) + statistics_bytes(task, width)


def check_memory(needed: int, force: bool, lazy: bool = False) -> None:
    """Refuse a run that needs more than is available, unless forced. Raises InputError.

    lazy: whether it is the theory of a lazy limit, which no choice of kernel points makes small.
    """
    points = "take fewer points, as the lazy limit holds K between all of them" if lazy else "set theory.kernel_points"
    available = available_memory()
    if needed + BASE > available and not force:
        raise InputError(
            "memory",
            f"an estimated {gigabytes(needed + BASE)}",
            f"at most the {gigabytes(available)} that are available (of the machine, its "
            f"container and ulimit -v): {points}, raise theory.save_every, set theory.neurons (lower), "
            "set theory.covariance or ensemble.kernels to false (or ensemble.kernel_points), or force (--force)",
        )
