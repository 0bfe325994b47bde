"""Reading an experiment file into a plain mapping."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from fwdmft.errors import InputError


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: list[object] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file (JSON is YAML). Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError("experiment", path, f"a readable YAML or JSON file ({reason})") from None
    try:
        values = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError("experiment", path, f"valid YAML or JSON ({_located(error)})") from None
    if not isinstance(values, dict):
        raise InputError("experiment", path, "a file that holds a mapping of fields, such as `name: my-experiment`")
    return values


def _located(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return str(error) if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
