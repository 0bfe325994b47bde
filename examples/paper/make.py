"""One entry of the gallery: `python examples/paper/make.py 2 [--quick] [-o DIR]`, several numbers, or `all`.

Computes the experiments and sweeps of the entry into DIR (what is there is kept), draws its figures, and prints and
writes how well theory and networks agree. --quick: the same at small sizes, in seconds to a minute.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

import agreement_table
from entry import HERE, Results

import fwdmft
from fwdmft.console import live_progress
from fwdmft.errors import ComputationError, FwdmftError
from fwdmft.experiment.model import Experiment
from fwdmft.results.write import write_result
from fwdmft.sweeping.spec import Sweep

ENTRIES = {int(path.stem.removeprefix("entry_")): path.stem for path in sorted(HERE.glob("entry_[0-9][0-9].py"))}


def entry_module(number: int) -> ModuleType:
    """The module of an entry: TITLE, FILES, QUICK, figures(results) and, if there is more to say, numbers(results)."""
    return import_module(ENTRIES[number])


def make(number: int, home: Path, quick: bool, jobs: int = 1) -> None:
    """Compute, draw and report one entry."""
    module, start = entry_module(number), time.perf_counter()
    home.mkdir(parents=True, exist_ok=True)
    print(f"{number}. {module.TITLE}", flush=True)
    results = Results(home, module.QUICK if quick else {})
    for stem in module.FILES:
        compute(results, stem, jobs)
    for name, figure in module.figures(results).items():
        path = home / f"{number:02}_{name}.png"
        figure.savefig(path, metadata={"Software": None})
        print(path)
    said = agreement_table.markdown({stem: results[stem] for stem in module.FILES})
    said += [f"- {line}" for line in getattr(module, "numbers", lambda results: [])(results)]
    (home / f"{number:02}_numbers.md").write_text("\n".join(said) + "\n", encoding="utf-8")
    print("\n".join(said))
    print(f"{time.perf_counter() - start:.0f} s", flush=True)


def compute(results: Results, stem: str, jobs: int) -> None:
    """The results of one file: a directory of that name for a sweep, else a netCDF file."""
    loaded, home = results.load(stem), results.home
    with live_progress() as progress:
        if isinstance(loaded, Sweep):
            failed = fwdmft.run_sweep(loaded, home / stem, jobs=jobs, progress=progress).failed
            if failed:
                raise ComputationError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))
        elif not holds(home / f"{stem}.nc", loaded):
            write_result(fwdmft.run(loaded, progress=progress), home / f"{stem}.nc")


def holds(path: Path, experiment: Experiment) -> bool:
    """Whether the result of this experiment is there. Raises InputError if it is that of another."""
    if not path.exists():
        return False
    if fwdmft.open_result(path).attrs["experiment"] != experiment.model_dump_json():
        raise fwdmft.InputError("output", path, "a directory without results of other sizes")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="+", metavar="ENTRY", help=f"one of {', '.join(map(str, ENTRIES))}, or all")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="by default gallery or gallery-quick")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="points of a sweep computed at a time")
    words = parser.parse_args()
    unknown = set(words.entries) - {"all", *map(str, ENTRIES)}
    if unknown:
        parser.error(f"no entry {', '.join(sorted(unknown))}")
    numbers = list(ENTRIES) if "all" in words.entries else [int(word) for word in words.entries]
    try:
        for number in numbers:
            make(number, words.output or Path("gallery-quick" if words.quick else "gallery"), words.quick, words.jobs)
    except FwdmftError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
