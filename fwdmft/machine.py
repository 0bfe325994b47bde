"""What this process may use of the machine: processors and memory, as affinity, containers and limits allow.

Control groups are read from the files of Linux; elsewhere, and where there are none, the machine is the limit.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from fwdmft.errors import InputError

SHARE = "FWDMFT_PROCESSORS"
"""Environment variable with the number of processors to use, such as a job's share of them."""

ADDRESSES = 2 << 30
"""Bytes of address space without which JAX does not start, or libraries end the process from within, or wait for memory
without end."""

_POOLS = ("PJRT_NPROC", "NPROC")  # of XLA, the first that is set
_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 writes the largest multiple of a page for "no limit"


def processors(environment: Mapping[str, str] = os.environ, groups: Path = _GROUPS) -> int:
    """Processors that this process may keep busy, at least 1: by its affinity, the quota of its control groups, and
    `FWDMFT_PROCESSORS`."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = environment.get(SHARE, "")
    limits = [*_quotas(groups), *([int(share)] if share.isdecimal() else [])]
    return max(1, math.floor(min([allowed, *limits]) + 0.5))


def available_memory(groups: Path = _GROUPS) -> int:
    """Bytes that this process can still take: of the machine, its control groups, and its address space."""
    address_space_left = address_space() - psutil.Process().memory_info().vms
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(groups), address_space_left]))


def address_space() -> int:
    """Bytes of address space that this process may have (`ulimit -v`)."""
    try:
        import resource
    except ImportError:
        return _UNLIMITED
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit


def check_address_space() -> None:
    """Raises InputError where there is less address space than JAX needs to start."""
    if address_space() < ADDRESSES:
        expected = f"at least {gigabytes(ADDRESSES)} (ulimit -v), which JAX needs to start"
        raise InputError("address space", gigabytes(address_space()), expected)


def gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def peak_memory() -> int:
    """Most bytes of the machine's memory that this process has held at any time."""
    # Of its own program: `ru_maxrss` of a process counts what the one that started it held at that time.
    for line in _text(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info()._asdict()["peak_wset"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1 << 10)


def thread_limits(count: int) -> dict[str, str]:
    """Environment of a process that shall keep so many processors busy, whatever its libraries would take."""
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", *_POOLS)
    return dict.fromkeys((SHARE, *libraries), str(count))


def with_processors(count: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for a process that shall keep no more than so many processors busy.

    Numbers of threads that are not those of `environment`'s own share were chosen by the user, and stay.
    """
    before = thread_limits(processors(environment))
    after = thread_limits(processors({**environment, SHARE: str(count)}))
    chosen = {name: value for name, value in environment.items() if name != SHARE and value != before.get(name, value)}
    return {**environment, **after, **chosen}


def compiled_threads() -> int:
    """Threads that a program compiled by XLA is cut into pieces for, on which its last digits depend."""
    for name in _POOLS:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiled_for(threads: int) -> dict[str, str]:
    """Environment of a process whose programs are compiled for so many threads."""
    return dict.fromkeys(_POOLS, str(threads))


def _quotas(groups: Path) -> Iterator[float]:
    """Processors that each control group around this process may use, on average over a tenth of a second."""
    for home in _homes(groups, "cpu"):
        quota, _, period = _text(home / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(home / "cpu.cfs_quota_us"), _text(home / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():
            yield int(quota) / int(period)


def _left_in_groups(groups: Path) -> Iterator[int]:
    """Bytes that each control group around this process can still take; caches of files make room when asked to."""
    for home in _homes(groups, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, taken = _text(home / limit), _text(home / used)
            if most.isdecimal() and taken.isdecimal() and int(most) < _UNLIMITED:
                freed = dict(line.split()[:2] for line in _text(home / "memory.stat").splitlines() if " " in line)
                yield int(most) - int(taken) + int(freed.get(cache, 0))


def _homes(groups: Path, controller: str) -> Iterator[Path]:
    """The directories of the control groups this process is in, the outermost last (version 2, then 1)."""
    paths = {}
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path.strip("/")
    for mount, inside in ((groups, paths.get("", "")), (groups / controller, paths.get(controller, ""))):
        # Seen from a container the directory of its own group is often the mount itself.
        yield from dict.fromkeys(mount / part for part in (Path(inside), *Path(inside).parents))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
