"""Compiled programs are kept for the next run, in a place that users choose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from experiments import experiment

import fwdmft
from fwdmft.compilation_cache import VARIABLE, cache_directory

COUNTING = """
import atexit, collections, json, sys
import jax
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))
atexit.register(lambda: print(json.dumps(events)))
from fwdmft.__main__ import main
main()
"""
"""The command, and what JAX tells of its cache: `compile_requests_use_cache`, of which `cache_hits` are found there."""


def test_the_second_run_compiles_nothing(tmp_path: Path) -> None:
    """Of theory and networks: what is left to do is to trace programs, and to run them."""
    file, cache = tmp_path / "experiment.yaml", tmp_path / "cache"
    data = {"kind": "gaussian", "features": 2, "train": 2, "test": 1}
    small = {"theory": {"neurons": 32, "replicates": 2}, "ensemble": {"widths": [3], "members": 4, "kernels": False}}
    values, events = [], []
    for seed, chosen, variable in ((0, [], {VARIABLE: str(cache)}), (1, ["--compilation-cache", str(cache)], {})):
        file.write_text(yaml.safe_dump(experiment(data=data | {"seed": seed}, **small)))
        words = "run", str(file), "-o", str(tmp_path / "result.nc"), *chosen
        done = subprocess.run(
            [sys.executable, "-c", COUNTING, *words], env=os.environ | variable, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        events.append(json.loads(done.stdout.splitlines()[-1]))
        values.append(fwdmft.open_result(tmp_path / "result.nc")["ensemble/loss_mean"].values)
    first, second = events
    assert second["cache_hits"] == second["compile_requests_use_cache"] == first["compile_requests_use_cache"]
    assert first["cache_misses"] > first["compile_requests_use_cache"] / 2 and "cache_misses" not in second
    assert not np.array_equal(*values)


def test_the_place_for_compiled_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(fwdmft.InputError, match="compilation-cache: got .*a directory that can be written to, or off"):
        cache_directory(str(tmp_path / "file"))
    assert cache_directory("off") is None
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "file" / name)
    assert cache_directory(None) is None
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    place = cache_directory(None)
    assert place is not None and place.is_relative_to(tmp_path / "fwdmft")
    (place / "old").write_bytes(bytes(600))
    os.utime(place / "old", (0, 0))
    (place / "new").write_bytes(bytes(600))
    monkeypatch.setattr("fwdmft.compilation_cache.LIMIT", 1000)
    assert cache_directory(None) == place and [path.name for path in place.iterdir()] == ["new"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "theirs"))
    assert cache_directory(None) == tmp_path / "theirs"
