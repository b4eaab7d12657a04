"""What comes from others reaches no terminal as it is."""

from __future__ import annotations

import json

import pytest

from workd.cli import plain

HARMFUL = ["\x1b[2J", "\x9b2J", "\x07", "\x00", "\r", "\x7f", "\u202e", "\u2028", "\udc80"]


@pytest.mark.parametrize("text", HARMFUL)
def test_what_a_terminal_obeys_is_shown_instead(text: str) -> None:
    shown = plain.text(f"a{text}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


@pytest.mark.parametrize("text", ["ü → 日本 😀", "two\nlines\tand a tab", "\\x1b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert plain.text(text) == text


def test_a_line_is_one() -> None:
    assert plain.line(" a\n\tb\x1b ") == "a b\\x1b"


@pytest.mark.parametrize("text", HARMFUL)
def test_json_keeps_its_meaning(text: str) -> None:
    shown = plain.json(json.dumps({"error": text}, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == {"error": text}
