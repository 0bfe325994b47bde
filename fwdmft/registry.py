"""The installed plugins: found through entry points, loaded one by one, checked, and asked by kind.

A plugin that cannot be used never takes the others down. Its failure is kept, shown by `fwdmft plugins`, and
raised when something under its name is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pluggy
from pydantic import PydanticUndefinedAnnotation

from fwdmft import hookspecs
from fwdmft.errors import NOTHING, InputError
from fwdmft.experiment.architecture import ArchitectureSpec
from fwdmft.experiment.base import Spec
from fwdmft.experiment.data import DatasetSpec
from fwdmft.experiment.loss import LossSpec
from fwdmft.experiment.optimizer import OptimizerSpec
from fwdmft.experiment.parameterization import ParameterizationSpec
from fwdmft.observables import Observable, ObservableFunction, are_dims, problem_with, problem_with_function
from fwdmft.plugin_code import GROUP, by_the_user, warned_if_slow

if TYPE_CHECKING:
    from fwdmft.engine.field_equations import FieldEquations
    from fwdmft.networks.model import Network


@dataclass(frozen=True)
class Architecture:
    """What a plugin supplies for one architecture.

    spec: its schema.
    field_equations(spec, parameterization, x, outputs): the infinite-width side; x is (points, ...).
    model(spec, parameterization, x, outputs, width, key): one network of that width (`fwdmft.networks.model`); None:
    field equations are a forward program, whose networks are trained.
    axes: names of the axes of x of one point, as results have them: ("height", "width", "channel") of images,
    ("step", "feature") of sequences. Points are flattened to rows for ("feature",).
    conventions: formulas of the network and its kernels in one line, for the attribute `model_conventions` of results.
    observables: what is observed of single points besides predictions and kernels, by name. Networks measure it
    (`Network.observables`), field equations compute it (`FieldEquations.dims`, `observe`), results hold it like f.
    """

    spec: type[ArchitectureSpec]
    field_equations: Callable[..., FieldEquations]
    model: Callable[..., Network] | None = None
    axes: tuple[str, ...] = ("feature",)
    conventions: str = ""
    observables: Mapping[str, Observable] = field(default_factory=dict)

    def observed(self, spec: ArchitectureSpec) -> dict[str, Observable]:
        """Those of `observables` that networks with these settings have (`ArchitectureSpec.unobserved`)."""
        absent = spec.unobserved()
        return {name: one for name, one in self.observables.items() if name not in absent}


@dataclass(frozen=True)
class LossFunction:
    """A loss: its schema, and ell(f, y) of points, from f and y (..., output) to (...), made of functions of JAX.

    kinked: whether it has no second derivative somewhere; Sigma and b need one, and are refused then.
    """

    spec: type[LossSpec]
    function: Callable[..., Any]
    kinked: bool = False


@dataclass(frozen=True)
class ActivationFunction:
    """An activation function under its name: elementwise, of arrays of any shape, made of functions of JAX.

    kinked: whether it has no second derivative somewhere; Sigma and b come from draws of networks then, also where
    linear response would give them at less cost.
    """

    name: str
    function: Callable[..., Any]
    kinked: bool = False


def deferred(home: str, name: str) -> Callable[..., Any]:
    """The function of that name in the module `home`, which is imported when it is first called.

    Plugins are loaded to list them and to read experiments; what they import JAX for is wanted only when they run.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(import_module(home), name)(*arguments, **named)

    return call


@dataclass
class PluginReport:
    """An installed plugin: where it is from, what it registers ("architecture: mlp"), why it failed."""

    name: str
    version: str
    distribution: str
    registers: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Section:
    """One part of an experiment that is open to plugins: its hook, the base of its schemas, and what is registered
    where that is not the schema itself."""

    name: str
    hook: str
    base: type[Spec]
    item: type | None = None


SECTIONS = {
    section.name: section
    for section in (
        Section("architecture", "fwdmft_architectures", ArchitectureSpec, Architecture),
        Section("parameterization", "fwdmft_parameterizations", ParameterizationSpec),
        Section("optimizer", "fwdmft_optimizers", OptimizerSpec),
        Section("loss", "fwdmft_losses", LossSpec, LossFunction),
        Section("data", "fwdmft_datasets", DatasetSpec),
    )
}
BY_NAME = (
    Section("activation", "fwdmft_activations", Spec, ActivationFunction),
    Section("observable", "fwdmft_observables", Spec, ObservableFunction),
)
"""What can be registered by name, without a schema."""

_HOOKS = {section.name: section for section in (*SECTIONS.values(), *BY_NAME)}


class Registry:
    """Everything the given entry points register, and fwdmft's own schemas."""

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self.reports: list[PluginReport] = []
        self._items: dict[str, dict[str, tuple[Any, PluginReport]]] = {name: {} for name in _HOOKS}
        self._owners: dict[tuple[str, str], PluginReport] = {}
        self._refused: dict[str, str] = {}
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._add_builtin()
        by_name = sorted(points, key=lambda point: point.name)
        for name, group in groupby(by_name, key=lambda point: point.name):
            self._add(name, list(group))

    def kinds(self, section: str) -> list[str]:
        """The kinds that can be used in this section of an experiment, or names of functions, sorted."""
        return sorted(self._items[section])

    def schemas(self, section: str) -> list[type[Spec]]:
        """The schemas of those kinds, in the same order."""
        return [_schema_of(self._items[section][kind][0]) for kind in self.kinds(section)]

    def get(self, section: str, kind: object) -> Any:
        """What is registered under a kind: `Architecture`, `LossFunction`, a function by its name, or the schema class.

        Raises InputError (field "kind") with the plugin's failure, or with the installed kinds.
        """
        return self._find(section, kind)[0]

    def provider(self, section: str, kind: str) -> PluginReport:
        """The plugin that registers this kind."""
        return self._find(section, kind)[1]

    def origin(self, section: str, kind: str) -> str:
        """This kind and the plugin that registers it, for messages."""
        report = self.provider(section, kind)
        return f"{section} {kind!r} of plugin {report.name!r} ({report.origin})"

    def _find(self, section: str, kind: object) -> tuple[Any, PluginReport]:
        if isinstance(kind, str) and kind in self._items[section]:
            return self._items[section][kind]
        if isinstance(kind, str) and kind in self._refused:
            raise InputError("kind", kind, f"a working plugin, but {self._refused[kind]}")
        raise InputError("kind", kind, self._choices(section, kind))

    def _choices(self, section: str, kind: object) -> str:
        kinds, words = self.kinds(section), "kinds" if section in SECTIONS else f"{section}s"
        if not kinds:
            one = f"{section} kind" if section in SECTIONS else section
            return f"an installed {one}, but none is installed (see `fwdmft plugins`)"
        close = get_close_matches(kind, kinds, n=1) if isinstance(kind, str) else []
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"one of the installed {words} {', '.join(kinds)}{hint}"

    def _add_builtin(self) -> None:
        from fwdmft import __version__
        from fwdmft.experiment import builtin

        report = PluginReport("fwdmft", __version__, "fwdmft")
        self.reports.append(report)
        self._register(builtin, report)

    def _add(self, name: str, points: list[EntryPoint]) -> None:
        report = _report_on(points[0])
        self.reports.append(report)
        if len(points) > 1:
            origins = [_report_on(point).origin for point in points]
            report.distribution, report.version = ", ".join(origins), ""
            self._fail(report, f"entry point {name!r} is provided by {' and by '.join(origins)}; uninstall one")
            return
        try:
            with warned_if_slow(f"plugin {report.name!r} ({report.origin})", "uninstall it if it never ends"):
                self._register(points[0].load(), report)
        except BaseException as error:  # SystemExit too: a plugin does not decide when this program ends
            if by_the_user(error):
                raise
            self._fail(report, f"{report.origin} failed to load: {type(error).__name__}: {error}")

    def _register(self, plugin: object, report: PluginReport) -> None:
        for problem in _misspelt_hooks(plugin):
            self._fail(report, problem)
        self._manager.register(plugin, report.name)
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        for section in _HOOKS.values():
            for items in self._manager.subset_hook_caller(section.hook, others)():
                self._accept_all(section, items, report)
        if not report.registers and report.failure is None:
            self._fail(report, f"it registers nothing; it should implement {', '.join(_hook_names())}")

    def _accept_all(self, section: Section, items: object, report: PluginReport) -> None:
        if not isinstance(items, list | tuple):
            self._fail(report, f"{section.hook}() returned {items!r}; expected a list")
            return
        for item in items:
            problem = _problem_with(section, item)
            if problem is not None:
                self._fail(report, f"{section.hook}() returned {item!r}; expected {problem}")
            else:
                self._accept(section, item, report)

    def _accept(self, section: Section, item: Any, report: PluginReport) -> None:
        kind = item.name if section in BY_NAME else _literal_kind(_schema_of(item))
        assert kind is not None, "checked by _problem_with"
        first = self._owners.setdefault((section.name, kind), report)
        if first is report and kind not in self._items[section.name]:
            self._items[section.name][kind] = (item, report)
            report.registers.append(f"{section.name}: {kind}")
            return
        self._items[section.name].pop(kind, None)
        first.registers = [name for name in first.registers if name != f"{section.name}: {kind}"]
        self._refused[kind] = (
            f"{section.name} kind {kind!r} is registered by plugin {first.name!r} ({first.origin}) and by "
            f"plugin {report.name!r} ({report.origin}); uninstall one"
        )
        self._fail(first, self._refused[kind])
        self._fail(report, self._refused[kind])

    def _fail(self, report: PluginReport, problem: str) -> None:
        known = [] if report.failure is None else report.failure.split("\n")
        report.failure = "\n".join(dict.fromkeys([*known, problem]))
        self._refused[report.name] = f"plugin {report.name!r} is broken: {report.failure}"


@cache
def registry() -> Registry:
    """The registry of everything installed, loaded once per process."""
    return Registry(entry_points(group=GROUP))


def plugins() -> list[PluginReport]:
    """All installed plugins, broken ones included; fwdmft itself comes first."""
    return list(registry().reports)


def check_kind(section: str, value: object) -> object:
    """Validator for one open section of an experiment: its `kind` must be installed and working."""
    if isinstance(value, dict):
        registry().get(section, value.get("kind", NOTHING))
    return value


def _report_on(point: EntryPoint) -> PluginReport:
    if point.dist is None:
        return PluginReport(point.name, "", point.value)
    return PluginReport(point.name, point.dist.version, point.dist.name)


def _schema_of(item: Any) -> type[Spec]:
    return item.spec if isinstance(item, Architecture | LossFunction) else item


def _hook_names() -> list[str]:
    return [section.hook for section in _HOOKS.values()]


def _misspelt_hooks(plugin: object) -> list[str]:
    """Functions that were meant to be hooks but would silently never be called."""
    problems = []
    for name, function in inspect.getmembers(plugin, inspect.isroutine):
        marked = hasattr(function, f"{hookspecs.PROJECT}_impl")
        if name not in _hook_names() and (marked or name.startswith(f"{hookspecs.PROJECT}_")):
            close = get_close_matches(name, _hook_names(), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            problems.append(f"{name} is not a hook{hint}; the hooks are {', '.join(_hook_names())}")
        elif name in _hook_names() and not marked:
            problems.append(f"{name} is not marked with @fwdmft.hookimpl, so it would never be called")
    return problems


def _problem_with(section: Section, item: object) -> str | None:
    """What was expected instead of `item`, or None when it is valid."""
    if section.item is not None and not isinstance(item, section.item):
        return f"an fwdmft.plugin.{section.item.__name__}"
    functions = {name: getattr(item, name) for name in ("field_equations", "model", "function") if hasattr(item, name)}
    if isinstance(item, Architecture) and item.model is None:
        del functions["model"]
    if section.item is not None and not all(map(callable, functions.values())):
        return f"{' and '.join(functions)} to be callable"
    if isinstance(item, ActivationFunction):
        return None if str(item.name).isidentifier() else "a name of letters, digits and underscores"
    if isinstance(item, ObservableFunction):
        return problem_with_function(item)
    if isinstance(item, Architecture):
        if not item.axes or not are_dims(item.axes, taken=("point", "output", "split")):
            return 'axes to be a tuple of distinct names, such as ("step", "feature")'
        problem = problem_with(item.observables)
        if problem is not None:
            return problem
    schema = _schema_of(item)
    if not (isinstance(schema, type) and issubclass(schema, section.base)):
        return f"a schema class derived from {section.base.__name__}"
    return _problem_with_schema(schema)


def _problem_with_schema(schema: type[Spec]) -> str | None:
    if getattr(schema, "__abstractmethods__", None):
        return f"{schema.__name__} to define {', '.join(sorted(schema.__abstractmethods__))}"
    try:
        schema.model_rebuild()
    except PydanticUndefinedAnnotation as problem:
        return f"{schema.__name__} to annotate its fields with names that are known ({problem.name} is not)"
    if _literal_kind(schema) is None:
        return f'{schema.__name__} to have a field `kind: Literal["name"] = "name"`'
    if schema.model_config.get("extra") != "forbid":
        return f'{schema.__name__} to keep extra="forbid"'
    bare = [name for name, info in schema.model_fields.items() if not info.description and name != "kind"]
    return f"{schema.__name__} to describe its fields {', '.join(bare)}" if bare else None


def _literal_kind(schema: type[Spec]) -> str | None:
    """The one name a schema's `kind` may have, when it is declared as a Literal with that default."""
    info = schema.model_fields.get("kind")
    if info is None or get_origin(info.annotation) is not Literal:
        return None
    names = get_args(info.annotation)
    valid = len(names) == 1 and isinstance(names[0], str) and info.default == names[0]
    return names[0] if valid else None
