"""The text of lines of source files, for stacks. Bounded in time, size and number, whatever the file names are.

Workers say which files these are, and nobody has checked that: so only regular files are opened, and a file system that
hangs holds up a thread that nobody waits for. Nothing is kept: a look at stacks is seldom.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE_S: Final = 1.0
MAX_FILES: Final = 200
MAX_FILE_BYTES: Final = 2 * 1024 * 1024
MAX_LINE_CHARS: Final = 160

Place = tuple[str, int]
"""File and line, from 1."""


async def read(places: Iterable[Place]) -> dict[Place, str]:
    """Return the text of those lines that can be had."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[Place, str]] = loop.create_future()

    def work() -> None:
        found = _read_all(wanted)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_set, done, found)

    wanted = list(places)
    # A daemon thread, and not the loop's executor: the end of the program waits for none of these.
    threading.Thread(target=work, name="source-lines", daemon=True).start()
    await asyncio.wait({done}, timeout=PATIENCE_S)
    return done.result() if done.done() else {}


def _set(done: asyncio.Future[dict[Place, str]], found: dict[Place, str]) -> None:
    if not done.done():
        done.set_result(found)


def _read_all(places: list[Place]) -> dict[Place, str]:
    by_file: dict[str, list[int]] = {}
    for file, line in places:
        by_file.setdefault(file, []).append(line)
    found: dict[Place, str] = {}
    for file in list(by_file)[:MAX_FILES]:
        lines = _lines(file)
        for line in by_file[file]:
            if 0 < line <= len(lines):
                found[file, line] = lines[line - 1].strip()[:MAX_LINE_CHARS]
    return found


def _lines(file: str) -> list[str]:
    """Return the lines of a source file; none of what is not one."""
    if not file.startswith("/") or not file.endswith(".py"):
        return []
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as opened:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
                return []
            return opened.read(MAX_FILE_BYTES).decode(errors="replace").split("\n")
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return []
