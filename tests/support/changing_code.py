"""A task module that a test rewrites while a daemon runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "changing_tasks"
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}  # two versions of one size within a second are one to Python's cache

_HEAD = """
from support.fault_tasks import note, wait_at
from workd_tasks import task

VERSION = {version!r}

@task(result_ttl=600)
def version(gate: str = "") -> str:
    note("start")
    if gate:
        wait_at(gate)
    return VERSION
"""


class ChangingCode:
    """The module, as it is now."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{MODULE}.py"

    def write(self, version: str, more: str = "") -> None:
        """Put a version there; `more` is further code. Nobody sees half of it."""
        self.write_raw(_HEAD.format(version=version) + more)

    def write_raw(self, text: str) -> None:
        """Put any text there."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._path)

    def slow_import(self, gate: str) -> str:
        """Return code whose import waits until a gate is open, and leaves a file `importing-<gate>` before."""
        folder = os.fspath(self._path.parent)
        return f"""
import pathlib, time
(pathlib.Path({folder!r}) / "importing-{gate}").touch()
while not (pathlib.Path({folder!r}) / "{gate}").exists():
    time.sleep(0.005)
"""
