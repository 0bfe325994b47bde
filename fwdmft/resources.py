"""Foreseeing memory: an estimate before a run, compared with what the machine has."""

import psutil

from fwdmft.errors import InputError
from fwdmft.meanfield.theory import TheoryTask, concurrent_replicates, direction_block, direction_bytes
from fwdmft.networks.ensemble import CONCURRENT, chunk_size, member_bytes, statistics_bytes
from fwdmft.networks.training import Task

BASE = 400 << 20
"""Bytes of the interpreter with its libraries, and of compiled programs."""


def theory_bytes(task: TheoryTask) -> int:
    """Estimated peak memory of the theory: neurons, travelling directions, checkpoints, saved results."""
    points, outputs = task.y.shape
    saved, spec = len(task.times), task.spec
    per_neuron = 3 * task.site_numbers[0]
    observables = saved * (points * outputs + points**2 * (1 + 2 * outputs**2))
    total = 6 * spec.neurons * per_neuron + 8 * observables
    if spec.responses:
        rows = len(task.equations.layers) + points / spec.replicates
        total += int(3 * task.plan.steps * points * rows * spec.neurons)
    if spec.fluctuations or spec.bias:
        samples = (spec.fluctuation_neurons or spec.neurons) // spec.replicates * concurrent_replicates(task)
        checkpoints = 2 * saved**0.5 * samples * per_neuron
        predictions = 2 * samples * saved * points * outputs
        total += int(checkpoints + predictions) + 4 * spec.replicates * observables
        if spec.fluctuations and spec.covariance:
            total += (spec.replicates + 2) * (saved * points * outputs) ** 2
        return 8 * total + concurrent_replicates(task) * direction_block(task) * direction_bytes(task)
    return 8 * total


def ensemble_bytes(task: Task, width: int, members: int) -> int:
    """Estimated peak memory of training one width."""
    return CONCURRENT * chunk_size(task, width, members) * member_bytes(task, width) + statistics_bytes(task)


def check_memory(needed: int, force: bool) -> None:
    """Refuse a run that needs more than is available, unless forced. Raises InputError."""
    available = psutil.virtual_memory().available
    if needed + BASE > available and not force:
        raise InputError(
            "memory",
            f"an estimated {_gigabytes(needed + BASE)}",
            f"at most the {_gigabytes(available)} that are available: raise theory.save_every, lower theory.neurons, "
            "set theory.covariance or ensemble.kernels to false (or ensemble.kernel_points), or force (--force)",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
