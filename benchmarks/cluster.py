"""Work on a cluster of this machine: how an ensemble scales over worker processes, and what a task costs.

    python benchmarks/cluster.py                 # 1 and 2 workers, one after the other, in one run: a minute or two
    python benchmarks/cluster.py --workers 1 2 4 --members 512

Prints seconds and members a second of each number of workers, their ratio to one worker, and whether the bits are the
same; then the time that a task takes the scheduler and the command, and what a chunk of members takes a worker, the
network and the command, for the width above and a large one.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import time
from typing import Any

import fwdmft
from fwdmft.executors.dask import DaskExecutor, dask_executor
from fwdmft.networks.ensemble import _training
from fwdmft.networks.tally import Tally
from fwdmft.networks.task_statistics import grouped
from fwdmft.preparing import prepare

TASKS = 500


def experiment(arguments: argparse.Namespace) -> Any:
    return fwdmft.load_experiment(
        {
            "name": "cluster",
            "architecture": {"kind": "deep", "depth": 2},
            "optimizer": {"kind": "gradient_descent", "learning_rate": 0.02, "steps": arguments.steps},
            "data": {"kind": "digits", "train": 20, "test": 4},
            "ensemble": {"widths": [arguments.width], "members": arguments.members, "save_every": 10, "samples": 0},
        }
    )


def bits(result: Any) -> str:
    total = hashlib.sha256()
    for name, one in sorted(result["ensemble"].data_vars.items()):
        if name != "seconds":
            total.update(one.values.tobytes())
    return total.hexdigest()[:12]


def trained(one: Any, executor: DaskExecutor) -> tuple[float, str]:
    start = time.perf_counter()
    result = fwdmft.run(one, executor=executor)
    return time.perf_counter() - start, bits(result)


def scaling(arguments: argparse.Namespace) -> None:
    one, alone = experiment(arguments), None
    print("| workers | seconds | members/s | ratio | bits |\n|--:|--:|--:|--:|---|")
    for workers in arguments.workers:
        with dask_executor(workers=workers) as executor:
            trained(one, executor)  # every worker prepares and compiles
            seconds, computed = trained(one, executor)
        alone = alone or seconds
        speed = arguments.members / seconds
        print(f"| {workers} | {seconds:.2f} | {speed:.1f} | {alone / seconds:.2f} | {computed} |", flush=True)


def nothing(size: int) -> bytes:
    return bytes(size)


def overhead() -> None:
    """Tasks that do nothing but return so many bytes, as many under way as in an ensemble."""
    print("| bytes of a result | ms a task |\n|--:|--:|")
    with dask_executor(workers=1) as executor:
        executor.submit(nothing, 0).result()
        for size in (0, 1 << 16, 1 << 20, 1 << 24):
            count = TASKS if size < 1 << 20 else TASKS // 10
            start, waiting = time.perf_counter(), []
            for _ in range(count):
                waiting.append(executor.submit(nothing, size))
                if len(waiting) >= executor.window():
                    waiting.pop(0).result()
            for future in waiting:
                future.result()
            print(f"| {size} | {1e3 * (time.perf_counter() - start) / count:.2f} |", flush=True)


def of_a_chunk(arguments: argparse.Namespace, width: int, chunk: int) -> None:
    """What a chunk of members costs a worker, the network, and the command that adds it up."""
    task = prepare(experiment(arguments)).ensemble
    assert task is not None
    train = _training(task, width, 0, chunk)
    train([0])
    start = time.perf_counter()
    computed = train([chunk])
    trained = time.perf_counter() - start
    start = time.perf_counter()
    (seen,) = pickle.loads(content := pickle.dumps(computed))
    tally = Tally(chunk, chunk, 0)
    tally.add(seen, grouped(task, seen))
    added = time.perf_counter() - start
    print(f"| {width} | {chunk} | {trained:.3g} | {len(content) / 1e6:.3g} | {added:.3g} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--largest", type=int, default=4096, help="width at which a single member is trained")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    scaling(arguments)
    overhead()
    print("| width | members | seconds of a worker | MB | seconds of the command |\n|--:|--:|--:|--:|--:|")
    for width, chunk in ((arguments.width, 64), (arguments.largest, 1)):
        of_a_chunk(arguments, width, chunk)


if __name__ == "__main__":
    main()
