"""Files that people and programs write: what their words mean, and that no file is too much to read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiments import experiment, message, sweep

import fwdmft
from fwdmft.errors import InputError
from fwdmft.experiment.reading import DEEPEST, LARGEST, read_mapping

BRACKETS = "[" * 1000 + "]" * 1000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10))


def read(home: Path, text: str | bytes, name: str = "experiment.yaml") -> dict[str, Any]:
    path = home / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return read_mapping(path)


def refusal(home: Path, text: str | bytes, name: str = "experiment.yaml") -> str:
    with pytest.raises(InputError) as error:
        read(home, text, name)
    assert str(error.value).startswith(f"experiment: got '{home / name}'; expected ")
    return str(error.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e3", 1000.0),
        ("5e-2", 0.05),
        (".5", 0.5),
        ("-12", -12),
        ("0x1F", 31),
        ("true", True),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("'0100'", "0100"),
        ("!!str 12", "12"),
    ],
)
def test_words_mean_what_yaml_1_2_says(tmp_path: Path, word: str, value: object) -> None:
    assert read(tmp_path, f"a: {word}\n") == {"a": value}


def test_mappings_are_merged(tmp_path: Path) -> None:
    text = "base: &base {width: 3, depth: 4}\nother: {<<: *base, depth: 5}\n"
    assert read(tmp_path, text)["other"] == {"width": 3, "depth": 5}
    assert "'width' is given twice" in refusal(tmp_path, text + "third: {<<: *base, width: 1, width: 2}\n")


@pytest.mark.parametrize("name", ["experiment.json", "experiment.yaml"])
def test_json_as_programs_write_it(tmp_path: Path, name: str) -> None:
    """A pair of escapes for one character, and tabs, neither of which PyYAML takes."""
    values = {"name": "\N{ROCKET}", "steps": 3}
    text = json.dumps(values, indent="\t")
    assert "\\ud83d\\ude80" in text
    assert read(tmp_path, text, name) == values


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    for text in (b"name: a\n", b'{\t"name": "a"}'):
        assert read(tmp_path, b"\xef\xbb\xbf" + text) == {"name": "a"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 0100", "line 1, column 4: 0100 begins with 0, which some programs read as octal"),
        ("a: !!int abc", "line 1, column 4: 'abc' is no int"),
        ("a: !!bool perhaps", "'perhaps' is no bool"),
        ("a: !!python/object/apply:os.getpid []", "could not determine a constructor"),
        ("a: !!timestamp 2024-01-01", "could not determine a constructor"),
        ("a: " + "1" * 5000, "is no int"),
        ('{"a": ' + "1" * 5000 + "}", "a whole number of 5000 digits"),
        ("a: " + BRACKETS, f"values nested at most {DEEPEST} levels deep"),
        ('{"a": ' + BRACKETS + "}", f"values nested at most {DEEPEST} levels deep"),
        ('{"a": ' + "[" * 10**5 + "]" * 10**5 + "}", f"values nested at most {DEEPEST} levels deep"),
        ("a: " + "[" * 60 + "]" * 60, f"values nested at most {DEEPEST} levels deep"),
        (LAUGHS, "more than 100000 values, aliases written out"),
        (MERGED, "more than 100000 values, aliases written out"),
        ("a: &a [*a]", "*a holds itself"),
        ("a: " + "x" * LARGEST, f"a file of at most {LARGEST} bytes"),
        ('{"name": "a", "name": "b"}', "'name' is given twice"),
        ('{"name": "\\ud83d"}', r"text of whole characters, not '\ud83d'"),
        ("1: 2", "words as names of fields, not 1"),
        ("? [a]\n: 2", "a key is not a word"),
        (b"name: \xfc", "a readable YAML or JSON file (it is not text)"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (Path("a" * 5000), "File name too long")):
        with pytest.raises(InputError, match=rf"a readable YAML or JSON file \({reason}\)"):
            read_mapping(path)
    with pytest.raises(InputError, match="a file of at most"):
        read_mapping(Path("/dev/zero"))


def test_thousands_of_unknown_fields_are_reported_in_ten_lines() -> None:
    lines = message(**{f"k{i}": 1 for i in range(20_000)}).splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("k0: got 1; expected one of the fields name, title")
    assert lines[-1] == "and 19990 more problems"


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment()).replace("theory: {}", "theory: {neurons: 1e3}"))
    theory = fwdmft.load_experiment(path).theory
    assert theory is not None and theory.neurons == 1000 and isinstance(theory.neurons, int)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        (
            {f"theory.f{i}": list(range(1000)) for i in range(3)},
            "over: got '1000000000 points'; expected at most 10000",
        ),
        ({f"f{i}": [1] for i in range(101)}, "expected at most 100 entries"),
        ({".".join("a" * 3000): [1, 2]}, "expected text of at most 200 characters"),
    ],
)
def test_sweeps_without_end(over: dict[str, list[int]], expected: str) -> None:
    with pytest.raises(InputError) as error:
        fwdmft.load_sweep(sweep(over=over))
    assert expected in str(error.value)
