"""Command lines as people would type them, read by the command line's own parser and not run."""

from __future__ import annotations

import shlex
from typing import Any

from workd.cli import catalogue

_SHELL = {"|", ">", "<", "&&", ";"}


class WrongExampleError(AssertionError):
    """A command line that workd would not take."""


def parsed(line: str) -> tuple[str, ...]:
    """Parse `workd …`, up to what the shell takes for itself, and return which command it is."""
    words = shlex.split(line)
    ours = words[: next((number for number, word in enumerate(words) if word in _SHELL), len(words))]
    if ours[:1] != ["workd"]:
        raise WrongExampleError(f"{line!r} is no call of workd")
    called: list[tuple[str, ...]] = []
    try:
        _silent(catalogue.tree(), (), called)(args=ours[1:], prog_name="workd", standalone_mode=False)
    except Exception as error:
        raise WrongExampleError(f"{line!r}: {error}") from error
    if len(called) != 1:
        raise WrongExampleError(f"{line!r} calls no command")
    return called[0]


def _silent(node: Any, path: tuple[str, ...], called: list[tuple[str, ...]]) -> Any:
    """Have every command note its name instead of being run; its options are still checked."""
    children = getattr(node, "commands", None)
    if children is None:
        node.callback = lambda **_given: called.append(path)
    for name, child in (children or {}).items():
        _silent(child, (*path, name), called)
    return node
