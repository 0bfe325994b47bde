"""What `fwdmft check-plugin` is asked, made into a case and laws."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import jax
from pydantic import ValidationError

from fwdmft.errors import InputError
from fwdmft.experiment.messages import input_error
from fwdmft.experiment.reading import read_mapping
from fwdmft.preparing import check_dims, check_network
from fwdmft.registry import Architecture, registry
from fwdmft.testing import LAWS
from fwdmft.testing.case import Case
from fwdmft.testing.law import Law
from fwdmft.testing.small import small_case


def laws_of(words: Sequence[str]) -> list[Law]:
    """Laws whose names contain one of these; all without any. Raises InputError for a word that none contains."""
    for word in words:
        if not any(word in str(law) for law in LAWS):
            close = get_close_matches(word, map(str, LAWS), n=3, cutoff=0.0)
            raise InputError("law", word, f"a part of the name of a law, such as {', '.join(close)}")
    return [law for law in LAWS if not words or any(word in str(law) for word in words)]


def case_of(kind: str, file: Path | None, kinked: bool) -> Case:
    """A small case of an installed architecture. file: with its fields, None for the defaults.

    Raises InputError, and what else keeps an experiment from being run: PluginError for a plugin that does not keep to
    what it declares.
    """
    architecture: Architecture = registry().get("architecture", kind)
    values = {} if file is None else read_mapping(file)
    if values.get("kind", kind) != kind:
        raise InputError("architecture.kind", values["kind"], f"{kind}, the architecture that is checked")
    spec = {**values, "kind": kind}
    try:
        architecture.spec.model_validate(spec)
    except ValidationError as error:
        refusal = input_error(error, architecture.spec, spec)
        hint = "" if file is not None else " (in a file, --architecture FILE)"
        raise InputError.of(
            InputError(f"architecture.{each.field}", each.value, each.expected + hint) for each in refusal.problems
        ) from None
    case, origin = small_case(architecture, spec, kinked), registry().origin("architecture", kind)
    with jax.enable_x64(True):
        check_dims(case.as_built, architecture.observed(case.schema), origin)
        check_network(case.task(), case.widths[0], origin)
    return case
