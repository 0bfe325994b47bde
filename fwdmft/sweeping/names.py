"""How the points of a sweep are called: `gamma0=0.5,features=10`, in file names as in tables."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,39}")
_READABLE = 24
_LONGEST = 200  # characters; file systems allow 255 bytes, and a file being written has a longer name


def label(value: Any) -> str:
    """A value as part of a file name: a number or plain word as it is, anything else shortened, with a hash.

    Different values of one field have different labels, unless only their types differ (1 and "1").
    """
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if _PLAIN.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_.")[:_READABLE]
    return f"{readable}~{_hash(text)}"


def point_name(values: Mapping[str, Any]) -> str:
    """The name of the point where fields have these values."""
    short = short_names(tuple(values))
    name = ",".join(f"{short[field]}={label(value)}" for field, value in values.items())
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}~{_hash(name)}"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def short_names(fields: Sequence[str], taken: frozenset[str] = frozenset()) -> dict[str, str]:
    """The last part of each dotted field; all of it where that is another's too, or among the names `taken`."""
    last = {field: field.rsplit(".")[-1] for field in fields}
    count = Counter(last.values())
    return {field: name if count[name] == 1 and name not in taken else field for field, name in last.items()}
