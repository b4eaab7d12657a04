"""A cgroup of its own for each container: systemd-nspawn puts what it boots below the one that it is in.

Two containers in one cgroup see each other's processes in the cgroups of their units, and cannot end those units.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

_MOUNT: Final = Path("/sys/fs/cgroup")


def make(name: str) -> list[Path]:
    """Make one of that name in each hierarchy that systemd uses; return those that could be made."""
    made = []
    for parent in _own_cgroups():
        with suppress(OSError):  # read-only, in some containers
            folder = parent / name
            folder.mkdir()
            made.append(folder)
    return made


def remove(folders: list[Path]) -> None:
    """Remove them with all below them; the processes in them have ended."""
    for folder in folders:
        below = [path for path in folder.rglob("*") if path.is_dir()] if folder.exists() else []
        for path in [*sorted(below, key=lambda path: len(path.parts), reverse=True), folder]:
            with suppress(OSError):
                path.rmdir()


def _own_cgroups() -> list[Path]:
    """Return the cgroups that we are in: of version 2, and of systemd's own hierarchy where that is of version 1."""
    mounts = {"": _MOUNT / "unified" if (_MOUNT / "unified").is_dir() else _MOUNT, "name=systemd": _MOUNT / "systemd"}
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in mounts and mounts[controllers].is_dir():
            own = mounts[controllers] / path.strip("/")
            found.append(own if own.is_dir() else mounts[controllers])
    return found
