"""Lua scripts as a person's tools call them: by hash, and with their source where the server does not know it.

The files are the broker's (`broker/scripts/*.lua`), whose headers say what each takes, returns and keeps true. Used by
`admin.py` and its parts, over whatever answers a command: a client's link, or a store in the tests.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.client.commands import Command


class Asks(Protocol):
    """What sends one command and returns its answer, as `client.link.Link` does."""

    def call(self, command: Command) -> Any:
        """Send it. Raises ServerUnavailableError or EnqueueTimeoutError; NoScriptError for an unknown script."""

    def each(self) -> Sequence[Asks]:
        """Return what asks each of the servers that hold keys; raises as `call`."""


def call(link: Asks, name: str, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
    """Run `broker/scripts/<name>.lua`."""
    source, digest = _script(name)
    rest = (len(keys), *keys, *arguments)
    try:
        return link.call(("EVALSHA", digest, *rest))
    except NoScriptError:  # nothing was run: the server was started anew, or never had it
        return link.call(("EVAL", source, *rest))


@cache
def _script(name: str) -> tuple[bytes, str]:
    source = files("workd.broker").joinpath("scripts", f"{name}.lua").read_bytes()
    return source, hashlib.sha1(source, usedforsecurity=False).hexdigest()
