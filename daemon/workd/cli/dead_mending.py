"""The message of a dead letter, mended: from a file, or by a person in an editor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from workd.client.dead_letter import DeadLetter


def from_file(name: str) -> bytes:
    """Read a mended message; `-` is stdin."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name} cannot be read: {error.strerror}", param_hint="--message") from None


def in_editor(letter: DeadLetter) -> bytes | None:
    """Have a person mend the message; None if nothing was changed."""
    before = readable(letter.message)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="workd-") as folder:
        path = Path(folder) / f"{letter.entry_id}.json"
        path.write_bytes(before)
        try:
            done = subprocess.run([*shlex.split(editor), str(path)], check=False)
        except (OSError, ValueError) as error:  # ValueError: its quotes are not closed
            raise typer.BadParameter(f"$EDITOR {editor!r} does not start: {error}") from None
        after = path.read_bytes()
    return after.strip() if done.returncode == 0 and after != before else None


def keep(message: bytes) -> str:
    """Keep what a person has written and nobody took, in a file for that person alone; return its name."""
    descriptor, name = tempfile.mkstemp(prefix="workd-", suffix=".json")
    with os.fdopen(descriptor, "wb") as file:
        file.write(message + b"\n")
    return name


def readable(message: bytes) -> bytes:
    """Indent what is JSON; what is none, is too deep, or has a number that Python cannot hold, is left as it is."""
    try:
        return (json.dumps(json.loads(message), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (ValueError, RecursionError):
        return message
