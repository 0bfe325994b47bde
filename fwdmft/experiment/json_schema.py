"""JSON Schemas (2020-12) of an experiment and its parts, of sweeps and of results, for editors and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fwdmft.errors import InputError
from fwdmft.experiment.halves import EnsembleSpec, TheorySpec
from fwdmft.experiment.model import experiment_model
from fwdmft.files import made_directory, replacing
from fwdmft.registry import registry
from fwdmft.results.layout import result_schema
from fwdmft.sweeping.spec import Sweep

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SUFFIX = ".schema.json"
_PARTS = ("parameterization", "optimizer", "loss", "data")


def experiment_schema() -> dict[str, Any]:
    """The schema of a whole experiment, with every installed kind."""
    return _schema(experiment_model())


def schema_texts() -> dict[str, str]:
    """The text of every schema file by file name: the experiment, its parts one by one, a sweep, a result."""
    schemas = {
        "experiment": experiment_schema(),
        "theory": _schema(TheorySpec),
        "ensemble": _schema(EnsembleSpec),
        "sweep": _schema(Sweep),
        "result": {"$schema": DIALECT, **result_schema()},
    }
    fields = experiment_model().model_fields
    for part in _PARTS:
        schemas[part] = _schema(fields[part].rebuild_annotation())
    for kind, schema in zip(registry().kinds("architecture"), registry().schemas("architecture"), strict=True):
        schemas[f"architecture.{kind}"] = _schema(schema)
    return {name + _SUFFIX: as_text(schema) for name, schema in schemas.items()}


def as_text(schema: Mapping[str, Any]) -> str:
    """A schema as it is written to files and printed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(directory: Path) -> list[Path]:
    """Write every schema file into a directory, which is made if it does not exist.

    Raises InputError("output", ...) if that cannot be done.
    """
    texts = schema_texts()
    try:
        made_directory(directory)
        for name, text in texts.items():
            with replacing(directory / name) as scratch:
                scratch.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise InputError("output", str(directory), f"a directory to write files in ({problem.strerror})") from None
    return [directory / name for name in texts]


def drifted(directory: Path) -> list[str]:
    """Where the schema files of a directory differ from the schemas of the code, one phrase per file."""
    texts = schema_texts()
    present = {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob(f"*{_SUFFIX}"))}
    missing = [f"{name} is missing" for name in texts if name not in present]
    stale = [f"{name} belongs to nothing installed" for name in present if name not in texts]
    return missing + stale + [f"{name} differs" for name in texts if name in present and present[name] != texts[name]]


def _schema(model: Any) -> dict[str, Any]:
    return {"$schema": DIALECT, **_standard(TypeAdapter(model).json_schema())}


_KEYWORDS = {
    "ge": ("minimum", max),
    "gt": ("exclusiveMinimum", max),
    "le": ("maximum", min),
    "lt": ("exclusiveMaximum", min),
}
"""What pydantic calls bounds behind a validator, their names in JSON Schema, and which of two bounds holds."""


def _standard(part: Any) -> Any:
    """A part of a schema with the bounds of its numbers under their standard names."""
    if isinstance(part, list):
        return [_standard(each) for each in part]
    if not isinstance(part, dict):
        return part
    standard = {name: _standard(value) for name, value in part.items() if name not in _KEYWORDS or "type" not in part}
    for keyword, (name, tighter) in _KEYWORDS.items():
        if keyword in part and keyword not in standard:
            standard[name] = tighter(part[keyword], standard.get(name, part[keyword]))
    return standard
