"""Plugins: found, loaded apart, checked; each way to be broken has its message and harms nothing else."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from plugin_stand_ins import install, registry_of

from fwdmft.errors import FwdmftWarning, InputError
from fwdmft.plugin_code import culprit
from fwdmft.registry import Registry

GOOD = """
from typing import Literal
from fwdmft import hookimpl
from fwdmft.observables import Observable as O
from fwdmft.registry import Architecture
from fwdmft.experiment.architecture import ArchitectureSpec

class Schema(ArchitectureSpec):
    kind: Literal["{kind}"] = "{kind}"

def pieces(*arguments):
    return None

@hookimpl
def fwdmft_architectures():
    return [Architecture(Schema, pieces, pieces)]
"""


def good(kind: str) -> str:
    return GOOD.replace("{kind}", kind)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def failure(registry: Registry, name: str) -> str:
    """The recorded failure of the plugin of that name."""
    (report,) = (report for report in registry.reports if report.name == name)
    assert report.failure is not None
    return report.failure


def refusal(registry: Registry, kind: str, section: str = "architecture") -> str:
    with pytest.raises(InputError) as error:
        registry.get(section, kind)
    return str(error.value)


def test_working_plugin_is_loaded_with_its_origin(site: Path) -> None:
    install(site, "one-dist", {"one": good("one")}, version="2.5")
    registry = registry_of(site)
    assert registry.kinds("architecture") == ["one"]
    report = registry.provider("architecture", "one")
    assert (report.name, report.version, report.distribution) == ("one", "2.5", "one-dist")
    assert report.registers == ["architecture: one"]
    assert report.failure is None


def test_builtin_kinds_are_registered_by_fwdmft(site: Path) -> None:
    registry = registry_of(site)
    assert registry.kinds("parameterization") == ["mean_field", "neural_tangent"]
    assert registry.kinds("optimizer") == ["gradient_descent", "gradient_flow"]
    assert registry.kinds("data") == [
        *("cifar10", "digits", "file", "gaussian", "in_context_regression", "photo_patches", "sequences", "sphere")
    ]
    assert [report.name for report in registry.reports] == ["fwdmft"]


def test_broken_import_is_kept_and_raised_when_asked_for(site: Path) -> None:
    install(site, "one-dist", {"one": good("one")})
    install(site, "torn-dist", {"torn": "import no_such_module"})
    registry = registry_of(site)
    assert registry.kinds("architecture") == ["one"]
    assert failure(registry, "torn") == (
        "torn-dist 1.0 failed to load: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert "No module named 'no_such_module'" in refusal(registry, "torn")
    assert "plugin 'torn' is broken" in refusal(registry, "torn")


def test_one_entry_point_name_in_two_distributions_names_both(site: Path) -> None:
    install(site, "left", {"same": good("left")}, version="1.1")
    install(site, "right", {"same": good("right")}, version="2.2")
    registry = registry_of(site)
    assert registry.kinds("architecture") == []
    for distribution in ("left 1.1", "right 2.2"):
        assert distribution in failure(registry, "same")
        assert distribution in refusal(registry, "same")


def test_one_kind_from_two_plugins_names_both(site: Path) -> None:
    install(site, "left", {"a": good("same")}, version="1.1")
    install(site, "right", {"b": good("same")}, version="2.2")
    install(site, "third", {"c": good("same")}, version="3.3")
    registry = registry_of(site)
    assert registry.kinds("architecture") == []
    expected = "registered by plugin 'a' (left 1.1) and by plugin 'b' (right 2.2)"
    assert expected in failure(registry, "a")
    assert expected in failure(registry, "b")
    assert "third 3.3" in failure(registry, "c")
    assert "uninstall one" in refusal(registry, "same")
    assert all(not report.registers for report in registry.reports if report.name in "abc")


def test_misspelt_hook_is_reported_with_the_right_name(site: Path) -> None:
    source = good("one") + "\n@hookimpl\ndef fwdmft_optimisers():\n    return []\n"
    install(site, "one-dist", {"one": source})
    registry = registry_of(site)
    assert "fwdmft_optimisers is not a hook (did you mean fwdmft_optimizers?)" in failure(registry, "one")
    assert registry.kinds("architecture") == ["one"]


def test_forgotten_decorator_is_reported(site: Path) -> None:
    install(site, "one-dist", {"one": good("one").replace("@hookimpl", "")})
    assert "fwdmft_architectures is not marked with @fwdmft.hookimpl" in failure(registry_of(site), "one")


def test_plugin_without_hooks_is_reported(site: Path) -> None:
    install(site, "empty-dist", {"empty": "x = 1"})
    assert "it registers nothing" in failure(registry_of(site), "empty")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[Architecture(Schema, pieces, pieces)]", "Architecture(Schema, pieces, pieces)", "expected a list"),
        ("[Architecture(Schema, pieces, pieces)]", "[Schema]", "expected an fwdmft.plugin.Architecture"),
        ("Architecture(Schema, pieces, pieces)]", "Architecture(Schema, 1, pieces)]", "to be callable"),
        ("Architecture(Schema, ", "Architecture(dict, ", "a schema class derived from ArchitectureSpec"),
        ('    kind: Literal["one"] = "one"', '    kind: str = "one"', "to have a field `kind: Literal"),
        ('    kind: Literal["one"] = "one"', '    kind: Literal["one"]', "to have a field `kind: Literal"),
        ('] = "one"', '] = "one"\n    size: int = 1', "to describe its fields size"),
        ('] = "one"', '] = "one"\n    model_config = {"extra": "allow"}', 'to keep extra="forbid"'),
        ("def fwdmft_architectures():", "def fwdmft_architectures(extra):", "extra"),
        ("    return [A", "    1 / 0\n    return [A", "ZeroDivisionError"),
        ("pieces)]", "pieces, axes=('step', 'step'))]", "axes to be a tuple of distinct names"),
        ("pieces)]", "pieces, axes='feature')]", "axes to be a tuple of distinct names"),
        ("pieces)]", "pieces, observables=['attention'])]", "observables to be a mapping"),
        ("pieces)]", "pieces, observables={'attention': ('point',)})]", "to be an fwdmft.observables.Observable"),
        ("pieces)]", "pieces, observables={'a b': O('w', 's', ('point',))})]", "to be an identifier"),
        (
            "pieces)]",
            "pieces, observables={'loss_of': O('w', 's', ('point',))})]",
            "not to begin with one that",
        ),
        (
            "pieces)]",
            "pieces, observables={'a': O('w', 's', ('block',))})]",
            "expected point among the dimensions of observable",
        ),
        ("pieces)]", "pieces, observables={'a': O('w', 's', ('point', 'width'))})]", "none of time, width"),
    ],
)
def test_invalid_registered_object_is_refused(site: Path, old: str, new: str, expected: str) -> None:
    assert old in good("one")
    install(site, "one-dist", {"one": good("one").replace(old, new)})
    install(site, "two-dist", {"two": good("two")})
    registry = registry_of(site)
    assert expected in failure(registry, "one")
    assert registry.kinds("architecture") == ["two"]
    assert expected in refusal(registry, "one")


def test_unknown_names_in_annotations_are_reported(site: Path) -> None:
    source = good("one").replace('] = "one"', '] = "one"\n    size: "Sise" = 1')
    install(site, "one-dist", {"one": source})
    registry = registry_of(site)
    assert "Schema to annotate its fields with names that are known (Sise is not)" in failure(registry, "one")
    assert registry.kinds("architecture") == []


@pytest.mark.parametrize("words", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise BaseException('odd')"])
@pytest.mark.parametrize("inside", ["import", "hook"])
def test_plugins_do_not_end_the_program(site: Path, monkeypatch: pytest.MonkeyPatch, words: str, inside: str) -> None:
    """Where signals end the process, as in the command line, so that Ctrl-C raises nothing."""
    monkeypatch.setattr("signal.getsignal", lambda number: None)
    source = words if inside == "import" else good("one").replace("    return [A", f"    {words}\n    return [A")
    install(site, "one-dist", {"one": source})
    install(site, "two-dist", {"two": good("two")})
    registry = registry_of(site)
    name = words.split("(")[0].removeprefix("raise ").replace("import sys; sys.exit", "SystemExit")
    assert failure(registry, "one").startswith(f"one-dist 1.0 failed to load: {name}")
    assert registry.kinds("architecture") == ["two"]


def test_the_user_can_interrupt_the_loading_of_plugins(site: Path) -> None:
    install(site, "one-dist", {"one": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        registry_of(site)


def test_a_plugin_that_is_slow_to_load_is_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdmft.plugin_code.PATIENCE", 0.05)
    install(site, "one-dist", {"one": "import time; time.sleep(0.5)\n" + good("one")})
    with pytest.warns(FwdmftWarning, match=r"plugin 'one' \(one-dist 1.0\) has been loading for 0.05 seconds"):
        assert registry_of(site).kinds("architecture") == ["one"]


def test_errors_that_come_through_a_plugin_name_it(site: Path) -> None:
    install(site, "one-dist", {"one": "def fails(call):\n    call()\n"})
    (plugin,) = [point.load() for point in entry_points(group="fwdmft") if point.name == "one"]

    def broken() -> None:
        raise ZeroDivisionError

    for call, expected in ((lambda: plugin.fails(broken), "plugin 'one' (one-dist 1.0)"), (broken, None)):
        with pytest.raises(ZeroDivisionError) as error:
            call()
        assert culprit(error.value) == expected


def test_abstract_schema_is_refused(site: Path) -> None:
    source = """
from typing import Literal
from fwdmft import hookimpl
from fwdmft.experiment.optimizer import OptimizerSpec

class Idle(OptimizerSpec):
    kind: Literal["idle"] = "idle"

@hookimpl
def fwdmft_optimizers():
    return [Idle]
"""
    install(site, "idle-dist", {"idle": source})
    assert "expected Idle to define plan" in failure(registry_of(site), "idle")


def test_unknown_kind_lists_what_is_installed(site: Path) -> None:
    install(site, "one-dist", {"resnet": good("resnet"), "cnn": good("cnn")})
    text = refusal(registry_of(site), "resnot")
    assert text == "kind: got 'resnot'; expected one of the installed kinds cnn, resnet (did you mean resnet?)"


def test_nothing_installed_says_so(site: Path) -> None:
    assert "none is installed (see `fwdmft plugins`)" in refusal(registry_of(site), "mlp")


def test_import_is_light() -> None:
    """Neither the package, nor its plugins' schemas, nor a validated experiment need JAX or matplotlib."""
    code = (
        "import sys, fwdmft; from fwdmft.registry import plugins; from fwdmft.experiment.model import "
        "experiment_model; plugins(); experiment_model(); "
        "print([name for name in ('jax', 'equinox', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
