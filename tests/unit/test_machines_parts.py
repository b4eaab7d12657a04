"""What is slow to make is made once, is whole when it is there, and is another when it is made of something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.machines import parts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(parts.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "file").write_text("made")


def refuse(_folder: Path) -> None:
    raise AssertionError("it is there already")


def test_a_part_is_made_once_for_what_it_is_made_of() -> None:
    part = parts.made_once("root", ["bookworm", "redis"], write)
    assert (part / "file").read_text() == "made"
    assert parts.made_once("root", ["bookworm", "redis"], refuse) == part
    assert parts.made_once("root", ["bookworm", "valkey"], write) != part


def test_a_part_whose_making_failed_is_not_there_and_is_made_anew() -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        parts.made_once("root", ["bookworm"], fail)
    part = parts.made_once("root", ["bookworm"], lambda folder: (folder / "other").touch())
    assert [path.name for path in part.iterdir()] == ["other"]


def test_parts_that_nobody_asked_for_in_a_day_go_when_another_of_their_kind_is_made(cache: Path) -> None:
    old, other = parts.made_once("root", ["old"], write), parts.made_once("kernel", ["old"], write)
    for part in (old, other):
        os.utime(part, (0, 0))
    recent = parts.made_once("root", ["recent"], write)
    new = parts.made_once("root", ["new"], write)
    assert {path for path in cache.iterdir() if path.is_dir()} == {recent, new, other}


def test_contents_are_names_and_bytes_without_what_python_made(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("1")
    before = parts.digest(parts.contents(folder))
    (folder / "__pycache__" / "a.pyc").write_text("2")
    assert parts.digest(parts.contents(folder)) == before
    (folder / "a.py").rename(folder / "b.py")
    assert parts.digest(parts.contents(folder)) != before
    assert parts.digest(["ab", "c"]) != parts.digest(["a", "bc"])
