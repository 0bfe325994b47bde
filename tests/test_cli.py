"""The commands: what they print, where messages go, and their exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import yaml
from experiments import experiment
from jsonschema import Draft202012Validator
from plugin_stand_ins import install
from result_stand_ins import ensemble, tree
from typer.testing import CliRunner, Result

import fwdmft
from fwdmft.cli import app
from fwdmft.exit_codes import MORE_MEMORY
from fwdmft.results.write import write_result

SCHEMAS = Path(__file__).parent.parent / "schemas"


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment()))
    return path


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put a function in the place of the computation."""
    return lambda function: monkeypatch.setitem(vars(fwdmft), "run", function)


def finished(_: Any, progress: Callable[[str, int, int], None], **__: Any) -> Any:
    for stage in ("theory", "width 16"):
        progress(stage, 1, 2)
        progress(stage, 2, 2)
    return tree()


def raising(error: BaseException) -> Callable[..., Any]:
    def run(*_: Any, **__: Any) -> Any:
        raise error

    return run


def test_run_writes_a_result_and_prints_its_table(file: Path, engine: Any) -> None:
    engine(finished)
    output = file.parent / "result.nc"
    result = call("run", file, "-o", output)
    assert result.exit_code == 0, result.stderr
    assert "theory" in result.stderr and "width 16" in result.stderr and "2/2" in result.stderr
    assert result.stdout.strip()
    assert "prediction" in fwdmft.open_result(output)["theory"]
    assert call("show", output).stdout == result.stdout


@pytest.mark.parametrize("force", [False, True])
def test_run_passes_force_on(file: Path, engine: Any, force: bool) -> None:
    seen: list[bool] = []
    engine(lambda _, force, **__: seen.append(force) or tree())
    result = call("run", file, "-o", file.parent / "result.nc", *(["--force"] if force else []))
    assert (result.exit_code, seen) == (0, [force])


def test_unwritable_output_is_refused_before_computing(file: Path, engine: Any) -> None:
    engine(raising(AssertionError("computed")))
    for output in (file.parent / "none" / "result.nc", file.parent):
        result = call("run", file, "-o", output)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"output: got '{output}'; expected ")
        assert "computed" not in result.stderr


def test_nothing_but_results_is_overwritten(file: Path, engine: Any) -> None:
    engine(raising(AssertionError("computed")))
    before = file.read_bytes()
    result = call("run", file, "-o", file)
    assert result.exit_code == 2 and file.read_bytes() == before
    assert result.stderr.startswith(f"output: got '{file}'; expected a new name, or a result to replace")
    output = write_result(tree(), file.with_name("result.nc"))
    before = output.read_bytes()
    for table in (output, file):
        result = call("show", output, "-o", table)
        assert result.exit_code == 2 and "a new name, or a table of the agreement to replace" in result.stderr
    assert output.read_bytes() == before and list(file.parent.glob("*.part")) == []
    for _ in range(2):
        assert call("show", output, "-o", file.with_name("table.csv")).exit_code == 0


def test_names_of_output_end_in_what_is_written(file: Path, engine: Any, tmp_path: Path) -> None:
    engine(raising(AssertionError("computed")))
    result = write_result(tree(), tmp_path / "old.nc")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump({"name": "grid", "base": experiment(), "over": {"theory.seed": [0, 1]}}))
    before = sorted(tmp_path.iterdir())
    for words, name, expected in (
        (("run", file), "x.png", "a name that ends in .nc, as this is a result"),
        (("run", file), "x", "a name that ends in .nc, as this is a result"),
        (("merge", result, result), "x.html", "a name that ends in .nc, as this is a result"),
        (("report", result), "x.nc", "a name that ends in .html, as this is a page of fwdmft report"),
        (("show", result), "x.txt", "a name that ends in .csv, as this is a table of the agreement"),
        (("plot", result), "x.png", "the name of a directory; one that ends in .png is that of a file"),
        (("sweep", sweep), "x.nc", "the name of a directory; one that ends in .nc is that of a file"),
        (("schema",), "x.json", "the name of a directory; one that ends in .json is that of a file"),
        (("new-plugin", "mine"), "x.py", "the name of a directory; one that ends in .py is that of a file"),
    ):
        output = tmp_path / name
        refused = call(*words, "-o", output)
        assert (refused.exit_code, refused.stderr.strip()) == (2, f"output: got '{output}'; expected {expected}"), words
    assert sorted(tmp_path.iterdir()) == before


def test_there_is_no_table_of_one_half(tmp_path: Path) -> None:
    output = write_result(tree(networks=[]), tmp_path / "result.nc")
    assert call("show", output).exit_code == 0
    result = call("show", output, "-o", tmp_path / "table.csv")
    assert result.exit_code == 2 and result.stdout == "" and not (tmp_path / "table.csv").exists()
    assert f"result: got '{output}'; expected theory and ensemble with observables in common" in result.stderr


def test_halves_without_anything_in_common_are_shown(tmp_path: Path) -> None:
    """As with `kernels: false` and `predictions: last`."""
    whole = tree()
    names = [name for name in whole["ensemble"].data_vars if str(name).startswith(("loss", "members", "diverged"))]
    whole["ensemble"] = xr.DataTree(whole["ensemble"].to_dataset()[names])
    assert not fwdmft.agreement(whole).data_vars
    assert call("show", write_result(whole, tmp_path / "result.nc")).exit_code == 0


def test_networks_that_diverged_are_reported(tmp_path: Path) -> None:
    networks = [replace(one, diverged=3 * (one.width == 64)) for one in ensemble()]
    shown = call("show", write_result(tree(networks=networks), tmp_path / "result.nc")).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("Warning"))
    count = networks[0].members
    assert line.startswith(f"Warning: 3 of {count} networks of width 64 diverged and are left out of all averages")
    assert f"{count} networks, 3 diverged" in shown


def test_errors_of_plugins_name_them(file: Path, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "torn-dist", {"torn": "import sys\n\ndef load(*_, **__):\n    sys.exit(0)\n"})
    (plugin,) = [point.load() for point in entry_points(group="fwdmft") if point.name == "torn"]
    engine(plugin.load)
    result = call("run", file, "-o", tmp_path / "result.nc")
    assert result.exit_code == 1
    assert result.stderr.strip().startswith("plugin 'torn' (torn-dist 1.0) failed: unexpected SystemExit: 0")


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fwdmft", *map(str, words)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "words", [("run", "none.yaml", "-o", "r.nc"), ("estimate", "none.yaml"), ("sweep", "none.yaml", "-o", "d")]
)
def test_processors_are_chosen_before_libraries_are_imported(words: tuple[str, ...]) -> None:
    """Numpy and JAX read their numbers of threads when they are imported."""
    script = (
        "import os, sys; from fwdmft import cli; from fwdmft.commands import options\n"
        "chosen = options.with_processors\n"
        "def seen(count):\n"
        "    print({'numpy', 'jax'} & sys.modules.keys(), chosen(count)['OPENBLAS_NUM_THREADS'])\n"
        "    return chosen(count)\n"
        "options.with_processors = seen; cli.main()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", script, *words, "--cpus", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout.splitlines()[-1] == "set() 1", done.stderr
    assert "none.yaml" in done.stderr


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
@pytest.mark.parametrize("command", ["run", "sweep", "estimate", "check-plugin"])
def test_numbers_of_processors_that_are_none(file: Path, command: str, count: str) -> None:
    output = ["-o", file.parent / "out"] if command in ("run", "sweep") else []
    result = call(command, file, *output, "--cpus", count)
    assert result.exit_code == 2 and result.stdout == "" and not (file.parent / "out").exists()
    assert result.stderr == f"cpus: got '{count}'; expected a whole number of at least 1\n"


def test_output_in_ascii(tmp_path: Path) -> None:
    output = write_result(tree(), tmp_path / "result.nc")
    done = command("show", output, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and " +- 0." in done.stdout and "?" not in done.stdout


def test_warnings_look_like_messages() -> None:
    code = (
        "import warnings; from fwdmft.console import prepare_streams; from fwdmft.errors import FwdmftWarning; "
        "prepare_streams(); warnings.warn('odd', FwdmftWarning)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "warning: odd\n"


def test_bad_experiment_exits_with_2_and_one_line_per_problem(file: Path) -> None:
    file.write_text(yaml.safe_dump(experiment(optimizer={"kind": "gradient_descent", "learning_rte": 1})))
    result = call("run", file, "-o", file.parent / "result.nc")
    assert result.exit_code == 2
    assert result.stdout == ""
    starts = [line.split(":")[0] for line in result.stderr.splitlines()]
    assert starts == ["optimizer.learning_rate", "optimizer.learning_rte"]


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (fwdmft.ComputationError("training diverged at step 3"), 1, "training diverged at step 3"),
        (fwdmft.InputError("theory.neurons", 9, "fewer"), 2, "theory.neurons: got 9; expected fewer"),
        (KeyboardInterrupt(), 130, "interrupted; no result was written"),
        (MemoryError(), 1, f"out of memory: {MORE_MEMORY}"),
        (MemoryError("3 GB"), 1, f"out of memory (3 GB): {MORE_MEMORY}"),
        (RuntimeError("RESOURCE_EXHAUSTED: 3 GB"), 1, f"out of memory (RESOURCE_EXHAUSTED: 3 GB): {MORE_MEMORY}"),
        (RuntimeError("a bug"), 1, "unexpected RuntimeError: a bug (set FWDMFT_DEBUG=1 to see where)"),
        (SystemExit(0), 1, "unexpected SystemExit: 0 (set FWDMFT_DEBUG=1 to see where)"),
        (BaseException("odd"), 1, "unexpected BaseException: odd (set FWDMFT_DEBUG=1 to see where)"),
    ],
)
def test_failures_give_a_message_and_no_file(
    file: Path, engine: Any, error: BaseException, code: int, expected: str
) -> None:
    engine(raising(error))
    output = file.parent / "result.nc"
    result = call("run", file, "-o", output)
    assert result.exit_code == code
    assert result.stderr.strip() == expected
    assert not output.exists()


@pytest.mark.parametrize(
    "words",
    [
        *(("run", "e.yaml", "-o", "r.nc"), ("estimate", "e.yaml"), ("sweep", "e.yaml", "-o", "points")),
        *(("validate", "e.yaml"), ("merge", "a.nc", "b.nc", "-o", "r.nc"), ("check-plugin", "mlp")),
    ],
    ids=lambda words: words[0],
)
def test_too_little_address_space_is_refused_before_jax_is_imported(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less, importing OpenBLAS waits for memory for ever."""
    monkeypatch.setattr("fwdmft.machine.address_space", lambda: 700 << 20)
    monkeypatch.chdir(tmp_path)
    Path("e.yaml").write_text("no experiment, which is not read")
    result = call(*words)
    assert result.exit_code == 2
    assert result.stderr == (
        "address space: got '0.7 GiB'; expected at least 2.0 GiB (ulimit -v), which JAX needs to start\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["e.yaml"]


def test_debug_shows_the_traceback(file: Path, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWDMFT_DEBUG", "1")
    engine(raising(RuntimeError("a bug")))
    result = call("run", file, "-o", file.parent / "result.nc")
    assert isinstance(result.exception, RuntimeError)


def test_validate(file: Path) -> None:
    result = call("validate", file)
    assert result.exit_code == 0, result.stderr
    assert "is valid: test, mlp, 4 training and 2 test points, 1 outputs" in result.stdout


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": {"kind": "file", "path": "none.nc"}}, "data.path: got '"),
        ({"loss": {"kind": "softmax_cross_entropy"}}, "data.y: got 1 output"),
        (
            {"optimizer": experiment()["optimizer"] | {"batch": {"size": 9}}},
            "optimizer.batch.size: got 9; expected at most the 4 training points",
        ),
    ],
)
def test_validate_looks_at_the_data(file: Path, changes: dict[str, Any], expected: str) -> None:
    file.write_text(yaml.safe_dump(experiment(**changes)))
    result = call("validate", file)
    assert result.exit_code == 2
    assert result.stderr.startswith(expected)


def test_show_and_plot_refuse_what_is_no_result(tmp_path: Path) -> None:
    for command in (("show", tmp_path / "none.nc"), ("plot", tmp_path / "none.nc", "-o", tmp_path)):
        result = call(*command)
        assert result.exit_code == 2
        assert result.stderr.startswith("result: got ")


def test_plot_lists_the_files_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, Path]] = []
    monkeypatch.setitem(vars(fwdmft), "open_result", lambda path: path)
    monkeypatch.setitem(vars(fwdmft), "plot", lambda *both: calls.append(both) or [tmp_path / "a.png"])
    result = call("plot", "result.nc", "-o", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert calls == [(Path("result.nc"), tmp_path)]
    assert result.stdout.strip() == str(tmp_path / "a.png")


def test_plugins_lists_everything_installed() -> None:
    output = call("plugins").stdout
    for text in (
        "fwdmft",
        "mlp",
        fwdmft.__version__,
        "architecture: mlp",
        "optimizer: gradient_flow",
        "failure",
    ):
        assert text in output


def test_schema_is_2020_12_and_accepts_what_loads() -> None:
    schema = json.loads(call("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(experiment())
    for wrong in ({"architecture": {}}, {"theroy": {}}, {"optimizer": {"kind": "gradient_descent"}}):
        assert not validator.is_valid(experiment(**wrong))


def test_every_field_of_the_schema_is_described() -> None:
    schema = json.loads(call("schema").stdout)
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


def test_schema_files_are_written_and_compared(tmp_path: Path) -> None:
    assert call("schema", "-o", tmp_path).exit_code == 0
    names = {path.name.removesuffix(".schema.json") for path in tmp_path.iterdir()}
    parts = {"parameterization", "optimizer", "loss", "data", "theory", "ensemble", "architecture.mlp"}
    assert names >= parts | {"experiment"}
    assert call("schema", "--check", tmp_path).exit_code == 0
    refused = call("schema", "-o", tmp_path / "loss.schema.json")
    assert refused.exit_code == 2 and "expected the name of a directory; one that ends in .json" in refused.stderr
    (tmp_path / "loss.schema.json").write_text("{}")
    (tmp_path / "data.schema.json").unlink()
    (tmp_path / "architecture.gone.schema.json").write_text("{}")
    result = call("schema", "--check", tmp_path)
    assert result.exit_code == 1
    for text in (
        "loss.schema.json differs",
        "data.schema.json is missing",
        "architecture.gone.schema.json belongs to nothing installed",
    ):
        assert text in result.stderr


def test_version_and_usage() -> None:
    assert call("--version").stdout == command("--version").stdout == f"fwdmft {fwdmft.__version__}\n"
    assert call("run").exit_code == 2
    assert call("nonsense").exit_code == 2


def test_public_names_are_all_there() -> None:
    for name in fwdmft.__all__:
        value = getattr(fwdmft, name)
        assert callable(value) or isinstance(value, str), name
    with pytest.raises(AttributeError):
        fwdmft.nonsense  # noqa: B018
