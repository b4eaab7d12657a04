r"""Text for `man`: the few macros of man(7) that a manual needs, and what has to be escaped. Pure.

Markup in what is given: `word` becomes bold.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH = 78
_BOLD = re.compile(r"`([^`]+)`")
_BEYOND_ASCII = {"…": r"\&...", "→": r"\(->", "·": r"\(pc"}


def title(name: str, section: int, date: str, version: str) -> str:
    """Begin a page, with words that are not divided and lines that are not stretched."""
    return f'.TH {name.upper()} {section} {date} "workd {version}" workd\n.nh\n.ad l'


def section(name: str) -> str:
    """Begin a section."""
    return f".SH {name.upper()}"


def subsection(name: str) -> str:
    """Begin a part of a section."""
    return f'.SS "{escaped(name)}"'


def paragraph(text: str) -> str:
    """Write one paragraph."""
    return f".PP\n{words(text)}"


def item(tag: str, text: str) -> str:
    """Write what `tag`, which is bold or has its own markup, means."""
    head = words(tag) if "`" in tag else rf"\fB{escaped(tag)}\fR"
    return f".TP\n{head}\n{words(text)}"


def lines(of: Iterable[str]) -> str:
    """Write lines as they are, for code."""
    return "\n".join([".RS 4", ".nf", *(escaped(one) or r"\&" for one in of), ".fi", ".RE"])


def words(text: str) -> str:
    """Write running text in short lines, each sentence beginning a new one, as `man` wants it."""
    bold = _BOLD.sub("\0\\1\1", " ".join(text.split()))
    shown = escaped(bold).replace("\0", r"\fB").replace("\1", r"\fR")
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", shown)
    short = (textwrap.wrap(one, _WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences)
    return "\n".join(_no_request(line) for sentence in short for line in sentence)


def _no_request(line: str) -> str:
    """Keep a line that begins with a dot from being taken for a macro."""
    return rf"\&{line}" if line.startswith(".") else line


def escaped(text: str) -> str:
    """Keep roff from taking anything in a text for its own; dashes stay what can be copied into a shell."""
    shown = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    shown = shown.replace("^", r"\(ha").replace("~", r"\(ti")
    for character, name in _BEYOND_ASCII.items():
        shown = shown.replace(character, name)
    return _no_request(shown)
