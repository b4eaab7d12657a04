"""What must not be read in any log line, whoever wrote it there: passwords and keys that this process knows.

Nothing of ours logs them. This is for what others log: a library that quotes a URL, an exception that shows its
arguments. Short words are not hidden: they would be found in everything.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST_CHARS: Final = 4
HIDDEN: Final = "***"
_QUOTED_IN_QUOTED: Final = 3
"""Levels of escapes: an exception may show a text in quotes, another one shows that exception, and a line is JSON."""


class Mask:
    """The secrets of this process, in all the spellings in which they may come up."""

    def __init__(self) -> None:
        """Begin with none."""
        self._spellings: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Hide these from now on, as well."""
        found = set(self._spellings)
        for secret in secrets:
            for plain in {secret, unquote(secret)}:
                if len(plain) >= LEAST_CHARS:
                    found |= _spellings(plain)
        self._spellings = sorted(found, key=len, reverse=True)  # the longest first: one may be part of another

    def apply(self, line: str) -> str:
        """Return a line without them."""
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, HIDDEN)
        return line


def _spellings(plain: str) -> set[str]:
    """Return how a text may stand in a line: as it is, in a URL, in quotes, and all that in quotes. Mostly one way."""
    found = {plain, quote(plain, safe=""), quote_plus(plain), quote(plain, safe="").lower()}
    for _ in range(_QUOTED_IN_QUOTED):
        for one in list(found):
            found |= {json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
            raw, both = one.encode(), "'\""  # Python escapes a quote where the whole text has both kinds
            found |= {repr(one)[1:-1], repr(one + both)[1:-4], repr(raw)[2:-1], repr(raw + both.encode())[2:-4]}
    return found


def passwords_in(url: str) -> list[str]:
    """Return the passwords in a URL of one Redis server or several, as they stand there."""
    parts = urlsplit(url)
    asked = (value for name, value in parse_qsl(parts.query) if name.endswith("password"))
    return [word for word in (parts.netloc.rpartition("@")[0].partition(":")[2], *asked) if word]
