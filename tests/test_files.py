"""Places for output: refused before anything is computed, and never half written."""

import os
import socket
from pathlib import Path

import pytest

import fwdmft
from fwdmft import files


def check(path: Path) -> Path:
    return files.check_output(path, "a list", "", lambda there: there.read_text().startswith("list"))


def refusal(path: Path) -> str:
    with pytest.raises(fwdmft.InputError) as error:
        check(path)
    assert error.value.field == "output" and error.value.value == str(path)
    return error.value.expected


def test_new_names_empty_files_and_files_of_the_kind_are_accepted(tmp_path: Path) -> None:
    assert check(tmp_path / "new") == tmp_path / "new"
    for text in ("", "list of"):
        (tmp_path / "old").write_text(text)
        assert check(tmp_path / "old") == tmp_path / "old"
    (tmp_path / "link").symlink_to("old")
    assert check(tmp_path / "link") == tmp_path / "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text("name: mine")
    assert "a new name, or a list to replace; this file is something else" in refusal(tmp_path / "experiment.yaml")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name, expected in (
            (tmp_path, "this is a directory"),
            (tmp_path / "pipe", "this is a pipe"),
            (tmp_path / "socket", "this is a socket"),
            (Path("/dev/null"), "this is a device"),
            (tmp_path / "loop", "a file that can be written"),
            (tmp_path / "file" / "below", "there is no directory"),
            (tmp_path / "none" / "below", "there is no directory"),
            (tmp_path / ("n" * 250), "File name too long"),
            (tmp_path / ("n" * 5000), "File name too long"),
        ):
            assert expected in refusal(name)


def test_files_of_others_in_a_directory_like_tmp_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("list")
    tmp_path.chmod(0o1777)
    assert check(tmp_path / "old")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to another user" in refusal(tmp_path / "old")


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("list")
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "old") as scratch:
        scratch.write_text("half")
        raise ZeroDivisionError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["list"]
