"""Tables of the experiment file and of the result file, from their published JSON Schemas.

A page says where they go by a comment of its own line, `% fields of experiment` or `% variables of result`.
"""

import json
import re
from pathlib import Path

SCHEMAS = Path(__file__).parent.parent / "schemas"


def fill(app, docname, source):
    """Handler of Sphinx: put the tables into the source of a page."""
    for place, made in (("% fields of experiment", experiment), ("% variables of result", result)):
        if place in source[0]:
            source[0] = source[0].replace(place, made())


def _read(name: str) -> dict:
    return json.loads((SCHEMAS / name).read_text("utf-8"))


def _cell(text: object) -> str:
    """Markdown that shows the text as it is, in one cell of a table; `code` is code."""
    pieces = str(text).replace("\n", " ").split("`")
    shown = (piece if i % 2 else re.sub(r"([\\|*_$<\[])", r"\\\1", piece) for i, piece in enumerate(pieces))
    return "`".join(shown)


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def experiment() -> str:
    """A table for each section, and for each kind of it."""
    schema = _read("experiment.schema.json")
    parts = ["## Top level\n", _fields(schema)]
    for section, field in schema["properties"].items():
        kinds = [ref.rsplit("/", 1)[1] for ref in _references(field) if ref.startswith("#/$defs/")]
        if kinds:
            parts.append(f"## {section}\n")
        for kind in kinds:
            parts += _kind(schema["$defs"], kind, section)
    return "\n".join(parts)


def _kind(definitions: dict, name: str, section: str) -> list[str]:
    definition = definitions[name]
    kind = definition["properties"].get("kind", {})
    title = f"`{section}: {{kind: {kind['const']}}}`" if "const" in kind else f"`{section}`"
    parts = [
        f"### {title}\n",
        _cell(kind.get("description") or definition.get("description", "")) + "\n",
        _fields(definition),
    ]
    for field, about in definition["properties"].items():
        for ref in _references(about):
            parts += _kind(definitions, ref.rsplit("/", 1)[1], f"{section}.{field}")
    return parts


def _references(field: object) -> list[str]:
    if isinstance(field, dict):
        own = [field["$ref"]] if "$ref" in field else []
        return own + [
            ref for key, value in field.items() if key not in ("default", "discriminator") for ref in _references(value)
        ]
    return [ref for each in field for ref in _references(each)] if isinstance(field, list) else []


def _fields(schema: dict) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema["properties"].items():
        if name == "kind":
            continue
        default = "**required**" if name in required else _code(field["default"]) if "default" in field else "absent"
        rows.append((f"`{name}`", _cell(field.get("description", "")), default, _values(field)))
    return _table(("field", "what it is", "default", "values"), rows) if rows else "It has no fields.\n"


def _values(field: dict) -> str:
    """What JSON Schema lets a field be, in words."""
    if "const" in field:
        return _code(field["const"])
    if "enum" in field:
        return ", ".join(map(_code, field["enum"]))
    if "discriminator" in field:
        return "kinds " + ", ".join(f"`{kind}`" for kind in field["discriminator"]["mapping"]) + ", see below"
    if "$ref" in field or "oneOf" in field:
        return "see below"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_values, field["anyOf"])))
    words = [str(field.get("type", ""))]
    signs = {"minimum": "≥", "exclusiveMinimum": "\\>", "maximum": "≤", "exclusiveMaximum": "\\<"}
    words += [f"{sign}&nbsp;{field[key]:.10g}" for key, sign in signs.items() if key in field]
    if field.get("type") == "array":
        items = field.get("items", {})
        words = [f"list of ({_values(items)})" if items else "list"]
        words += [f"at least {field['minItems']}"] if "minItems" in field else []
        words += [f"at most {field['maxItems']}"] if "maxItems" in field else []
    return ", ".join(word for word in words if word)


def result() -> str:
    """A table for the attributes of the root, and one for the variables of each group."""
    schema = _read("result.schema.json")
    attributes = schema["properties"]["attributes"]
    rows = [
        (f"`{name}`", _cell(field.get("description", "")), "yes" if name in attributes["required"] else "no")
        for name, field in attributes["properties"].items()
    ]
    parts = ["## Attributes of the root\n", _table(("attribute", "what it is", "required"), rows)]
    for name, group in schema["properties"]["groups"]["properties"].items():
        variables = group["properties"]["variables"]
        rows = [_variable(each, field, schema["$defs"]) for each, field in variables["properties"].items()]
        parts += [f"## Group {name}\n", _table(("variable", "what it is", "dimensions, unit, type"), rows)]
    return "\n".join(parts)


def _variable(name: str, field: dict, definitions: dict) -> tuple[str, ...]:
    symbol = f": ${field['symbol']}$".replace("|", "\\vert ") if field.get("symbol") else ""
    forms = [_form(definitions[ref.rsplit("/", 1)[1]]["properties"]) for ref in _references(field)]
    return f"`{name}`", _cell(field.get("description", "")) + symbol, "; or ".join(dict.fromkeys(forms))


def _form(form: dict) -> str:
    """Dimensions, unit and type of a variable."""
    dims, unit, kind = (
        form.get("dimensions", {}),
        form.get("attributes", {}).get("properties", {}),
        form.get("type", {}),
    )
    axes = f"`({', '.join(dims['const'])})`" if "const" in dims else "dimensions of its own"
    units = unit.get("units", {}).get("const")
    types = "/".join(kind.get("enum", [kind["const"]] if "const" in kind else []))
    return ", ".join(word for word in (axes, f"unit {units}" if units else "", types) if word)
