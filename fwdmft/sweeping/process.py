"""A point of a sweep computed in a process of its own.

The process starts from nothing but a `Job` in JSON, not from the script that asked for it, and ends with it: it waits
for the end of its standard input, which comes however the other process ends. Its answer is JSON too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field
from typing import Any

from fwdmft.errors import FwdmftError
from fwdmft.machine import compiled_for, with_processors

_COMMAND = "from fwdmft.sweeping.process import answer; answer()"


@dataclass(frozen=True)
class Job:
    """A point to compute: its experiment, where its paths start, where its result goes.

    cache: directory for compiled programs, None for none. processors: how many it may keep busy. threads: for which
    programs are compiled (`fwdmft.machine`): those of the process that asks, as last digits depend on them.
    """

    experiment: dict[str, Any]
    base: str
    path: str
    force: bool
    cache: str | None
    processors: int
    threads: int


@dataclass
class Processes:
    """The processes under way, and their end when the sweep ends early."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _closed: bool = False

    def compute(self, job: Job) -> str | None:
        """Why computing the point failed, or None; says so if its process dies."""
        with self._lock:
            if self._closed:
                return "the sweep was ended"
            process = _start(job)
            self._running.add(process)
        try:
            return _answer_of(process, job)
        finally:
            process.kill()
            process.wait()
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """Let all processes remove their half files and end; no other starts."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.terminate()


def _start(job: Job) -> subprocess.Popen[bytes]:
    environment = with_processors(job.processors) | compiled_for(job.threads)
    environment["PYTHONPATH"] = os.pathsep.join(place or os.getcwd() for place in sys.path)
    # A session of its own: Ctrl-C at the terminal is for the sweep, which ends the processes.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _COMMAND],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _answer_of(process: subprocess.Popen[bytes], job: Job) -> str | None:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        process.stdin.flush()
        problem: str | None = json.loads(process.stdout.read())
        return problem
    except (OSError, ValueError):
        code = process.wait()
    if code == -signal.SIGKILL:
        return "its process was ended by SIGKILL, perhaps for lack of memory"
    reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process ended without a word ({reason})"


# --- in the new process ---


def answer() -> None:
    """Do the job on standard input and answer on standard output, to which nothing else is printed."""
    from fwdmft.console import prepare_streams
    from fwdmft.interruption import end, end_on_signals

    end_on_signals()
    prepare_streams()
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as reply:
        os.dup2(2, 1)
        reply.write(json.dumps(write_point(Job(**json.loads(line)))))
    end(0)


def _end_with_parent() -> None:
    from fwdmft.interruption import end

    while os.read(0, 1):
        pass
    end(1)


def write_point(job: Job) -> str | None:
    """Compute one point and write its result. Returns why that failed, or None."""
    import fwdmft
    from fwdmft.compilation_cache import use_cache
    from fwdmft.plugin_code import culprit
    from fwdmft.results.write import write_result

    try:
        use_cache(job.cache)
        experiment = fwdmft.load_experiment(job.experiment, base=job.base)
        write_result(fwdmft.run(experiment, force=job.force), job.path)
    except FwdmftError as error:
        return str(error)
    except BaseException as error:  # SystemExit too: it comes from code that is not ours
        plugin = culprit(error)
        where = "" if plugin is None else f"{plugin} failed: "
        detail = traceback.format_exc() if os.environ.get("FWDMFT_DEBUG") else str(error)
        return f"{where}unexpected {type(error).__name__}: {detail}"
    return None
