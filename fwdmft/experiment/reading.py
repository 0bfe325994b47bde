"""Reading a file of bounded size and nesting into a plain mapping.

YAML is read by the core schema of YAML 1.2, which JSON's values follow as well: 1e3 is a number, 2024-01-01 is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fwdmft.errors import InputError

LARGEST = 1 << 20
"""Bytes of a file."""

MOST_VALUES, DEEPEST = 100_000, 50
"""Values in a file, with those behind YAML's aliases counted each time, and levels of nesting."""


class _Loader(yaml.SafeLoader):
    """Safe YAML of plain values that refuses a key given twice, of which plain YAML silently keeps the last.

    PyYAML's own constructors and rules for words are those of YAML 1.1, where 0100 is 64 and 2024-01-01 a date.
    """

    yaml_constructors = {
        f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
        for kind in ("null", "bool", "str", "seq", "map")
    } | {None: yaml.SafeLoader.yaml_constructors[None]}
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count the values below each node, so that aliases of aliases cannot multiply without bound."""
        event, before = self.peek_event(), self._values
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise yaml.MarkedYAMLError(problem=f"*{event.anchor} holds itself", problem_mark=event.start_mark)
            self._values += self._sizes[id(node)]
        else:
            self._values += 1
            self._sizes[id(node)] = self._values - before
        if self._values > MOST_VALUES:
            problem = f"more than {MOST_VALUES} values, aliases written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError):
            problem = f"{node.value!r:.60} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == _MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not a word", problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r:.60} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
_WORDS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": ("<<", ["<"]),
}
for _kind, (_pattern, _first) in _WORDS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    if re.match(r"[-+]?0[0-9]", text):
        problem = f"{text:.60} begins with 0, which some programs read as octal: leave it out, or write text in quotes"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return int(text, 0)


def _real(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=[iInN])", "", str(node.value)))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _real)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises InputError."""
    text = _text(path)
    try:
        values = _parsed(text, path)
    except (yaml.YAMLError, json.JSONDecodeError, _Unfit) as error:
        raise InputError("experiment", path, f"valid YAML or JSON ({_located(error)})") from None
    except RecursionError:
        raise InputError("experiment", path, f"values nested at most {DEEPEST} levels deep") from None
    if not isinstance(values, dict):
        raise InputError("experiment", path, "a file that holds a mapping of fields, such as `name: my-experiment`")
    for value, depth in _everything(values):
        if depth > DEEPEST:
            raise InputError("experiment", path, f"values nested at most {DEEPEST} levels deep")
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            odd = next(key for key in value if not isinstance(key, str))
            raise InputError("experiment", path, f"words as names of fields, not {odd!r}")
        if isinstance(value, str) and re.search("[\ud800-\udfff\0]", value):
            raise InputError("experiment", path, f"text of whole characters, not {value!r:.60}")
    return values


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError("experiment", path, f"a file of at most {LARGEST} bytes")
        return content.decode("utf-8-sig")
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError("experiment", path, f"a readable YAML or JSON file ({reason})") from None


class _Unfit(ValueError):
    """What JSON allows and an experiment does not."""


def _parsed(text: str, path: Path) -> Any:
    """JSON where it is JSON, whose tabs and pairs of \\u escapes PyYAML does not read; YAML elsewhere."""
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_distinct, parse_int=_json_whole)
        except json.JSONDecodeError:
            if path.suffix.lower() == ".json":
                raise
    return yaml.load(text, _Loader)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise _Unfit(f"{key!r:.60} is given twice")
        mapping[key] = value
    return mapping


def _json_whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _Unfit(f"a whole number of {len(text)} digits") from None


def _everything(values: object) -> Iterator[tuple[object, int]]:
    """Every value with its depth."""
    waiting = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if depth <= DEEPEST and isinstance(value, dict | list):
            below = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((each, depth + 1) for each in below)


def _located(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return str(error) if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
