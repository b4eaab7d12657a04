"""docs/commands.md says what the commands say, and shows command lines that they take."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support import command_lines
from workd.cli import catalogue, reference

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    return PAGE.read_text(encoding="utf-8")


def test_all_that_the_commands_say_is_in_the_page_as_they_say_it(page: str) -> None:
    assert reference.completed(page) == page, "make man"


def test_every_command_has_one_place(page: str) -> None:
    assert sorted(reference.places(page)) == sorted(reference.wanted())
    headings = re.findall(r"^### workd (.+)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(command.name for command in catalogue.commands())


def test_command_lines_that_are_shown_are_valid(page: str) -> None:
    shown = re.findall(r"^\$ (workd .*)$", page, re.MULTILINE)
    assert len(shown) > 8
    for line in shown:
        command_lines.parsed(line)


def test_json_that_is_shown_is_json(page: str) -> None:
    shown = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(shown) > 15
    for text in shown:
        json.loads(text)


def test_a_place_of_a_command_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="no command 'nothing'"):
        reference.filled("<!-- made: nothing -->\n<!-- end -->")


def test_a_new_command_gets_a_place_by_itself() -> None:
    assert "### workd dead show\n" in reference.completed("")
    assert reference.completed(reference.completed("")) == reference.completed("")
