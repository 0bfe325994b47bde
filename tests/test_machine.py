"""Processors and memory as containers and limits allow; where JAX cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fwdmft.machine import SHARE, available_memory, processors, thread_limits, with_processors

ALL = processors({}, Path("/none"))


def test_processors_follow_affinity_and_the_share_of_a_job() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert len(os.sched_getaffinity(0)) == ALL
        code = "import os; os.sched_setaffinity(0, [0]); from fwdmft.in_order import PROCESSORS; print(PROCESSORS)"
        if 0 in os.sched_getaffinity(0):
            assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
    assert processors({SHARE: "1"}, Path("/none")) == 1
    assert processors({SHARE: "10000"}, Path("/none")) == ALL
    assert processors({SHARE: "many"}, Path("/none")) == ALL


def test_libraries_take_no_more_processors_than_asked_for() -> None:
    """But for numbers of threads that the user has chosen."""
    assert with_processors(1, {"HOME": "/"}) == {"HOME": "/", **thread_limits(1)}
    assert with_processors(10000, {}) == thread_limits(ALL)
    begun = with_processors(ALL, {"MKL_NUM_THREADS": "3"})
    assert begun == thread_limits(ALL) | {"MKL_NUM_THREADS": "3"}
    assert with_processors(1, begun) == thread_limits(1) | {"MKL_NUM_THREADS": "3"}
    assert with_processors(1, {SHARE: "1"}) == thread_limits(1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, ALL),
        ({}, ALL),
    ],
)
def test_processors_follow_quotas(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert processors({}, filled(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "3000", "memory.current": "1000", "memory.stat": "anon 5\ninactive_file 400"}, 2400),
        (
            {
                "memory/memory.limit_in_bytes": "3000",
                "memory/memory.usage_in_bytes": "1000",
                "memory/memory.stat": "total_inactive_file 400",
            },
            2400,
        ),
        ({"memory.max": "1000", "memory.current": "3000"}, 0),
    ],
)
def test_memory_follows_control_groups(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_memory(filled(tmp_path, files)) == expected
    unlimited = filled(tmp_path, {"memory.max": "max", "memory/memory.limit_in_bytes": str(2**63 - 4096)})
    assert available_memory(unlimited) > 2**20


def filled(home: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text + "\n")
    return home


STARTS = """
import resource, sys
from fwdmft.resources import device_kind
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
try:
    print(device_kind())
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
@pytest.mark.parametrize(
    ("platforms", "space", "words"),
    [
        ("cpu", 1 << 30, "address space: got '1.0 GiB'; expected at least 2.0 GiB (ulimit -v)"),
        ("cuda", 1 << 40, "JAX_PLATFORMS: got 'cuda'; expected a platform that JAX finds on this machine"),
    ],
)
def test_where_jax_cannot_start(platforms: str, space: int, words: str) -> None:
    environment = os.environ | {"JAX_PLATFORMS": platforms, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(space)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(words), done.stderr
