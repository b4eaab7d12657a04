"""The manual pages say what the code does, and `man` shows them without a complaint."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from workd import settings
from workd.cli import catalogue, manual, roff
from workd.crontab import Line
from workd.exits import Exit

FOLDER = Path(__file__).parents[2] / "deploy" / "man"
each_page = pytest.mark.parametrize("name", manual.PAGES)


def plain(page: str) -> str:
    """The text of a page without its escapes."""
    for escape in (r"\fB", r"\fR", r"\fI", r"\&"):
        page = page.replace(escape, "")
    return page.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(ga", "`").replace(r"\e", "\\")


@each_page
def test_the_pages_are_what_make_man_would_write(name: str) -> None:
    if not FOLDER.parent.exists():
        pytest.skip("the tests run outside the repository, which has the manual")
    assert (FOLDER / name).read_text(encoding="utf-8") == manual.PAGES[name](), "make man"


def test_every_command_with_its_own_options_and_examples_is_in_the_manual() -> None:
    page = plain(manual.command_page())
    for command in catalogue.commands():
        assert manual.usage(command) in page
        for example in command.examples:
            assert example in page
        own, _ = manual.own_options(command)
        assert [one.names for one in own if not all(name in page for name in one.names)] == []
    assert [code for code in Exit if f"\n{code.value}\n" not in page] == []


def test_every_setting_and_every_field_of_the_schedule_is_in_the_manual() -> None:
    page = plain(manual.settings_page())
    assert [name for name in (*settings.names(), *Line.model_fields) if f".TP\n{name}" not in page] == []


def test_secrets_of_this_machine_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_REDIS_URL", "redis://:hunter2@elsewhere/0")
    assert "hunter2" not in manual.command_page() + manual.settings_page()


@pytest.mark.parametrize("program", ["groff", "mandoc", "man"])
@each_page
def test_it_is_shown_without_a_complaint(program: str, name: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: groff, mandoc, man-db)")
    file = tmp_path / name
    file.write_text(manual.PAGES[name](), encoding="utf-8")
    commands = {
        "groff": ["groff", "-ww", "-man", "-Tutf8", str(file)],
        "mandoc": ["mandoc", "-T", "lint", str(file)],
        "man": ["man", "--warnings", "-E", "UTF-8", "-l", str(file)],
    }
    environ = {**os.environ, "MANPAGER": "cat", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(commands[program], capture_output=True, text=True, timeout=60, check=False, env=environ)
    complaints = done.stdout if program == "mandoc" else done.stderr
    assert (done.returncode, complaints) == (0, "")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (".dot", r"\&.dot"),
        ("'quote", r"\(aqquote"),
        ("a\\b", r"a\eb"),
        ("--lease-s", r"\-\-lease\-s"),
        ("`bold` and not", r"\fBbold\fR and not"),
        ("One. Two", "One.\nTwo"),
        ("x " * 39 + ".hidden", "x " * 38 + "x\n\\&.hidden"),
    ],
)
def test_nothing_in_a_text_is_a_request(text: str, written: str) -> None:
    assert roff.words(text) == written
