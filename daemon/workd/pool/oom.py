"""Whether the kernel's OOM killer killed a worker: told by the counter of our own memory cgroup.

The kernel counts the processes that it killed for want of memory in each cgroup. A SIGKILL that nobody here sent, while
that counter rose, was the OOM killer. Where the counter can't be read nobody can know, and None says so: "unknown". Of
several workers that died by SIGKILL at once, as many count as the counter rose by.

Used by `boots.py` alone; the read is a few microseconds from memory, never from a disk.

Source: Documentation/admin-guide/cgroup-v2.rst (`memory.events`, field `oom_kill`) and cgroup-v1/memory.rst
(`memory.oom_control`, field `oom_kill`) of the Linux kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PROC_CGROUP: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")
_FIELD: Final = "oom_kill"


class OomWatch:
    """Compares the counter before and after each death."""

    def __init__(self, counter: Path | None) -> None:
        """Read the counter for the first time; `counter` is its file (see `find_counter`), None if there is none."""
        self._file = counter
        self._seen = self._read()

    def explain(self, *, killed: bool) -> bool | None:
        """Say whether this death was the OOM killer's doing; `killed`: it was a SIGKILL that we did not send."""
        if not killed:
            return False
        before, now = self._seen, self._read()
        if before is None or now is None:
            return None
        if now > before:
            self._seen = before + 1  # one death takes one count; the next one asks for the rest
            return True
        return False

    def _read(self) -> int | None:
        if self._file is None:
            return None
        try:
            return _count(self._file.read_text())
        except OSError:
            return None


def find_counter(proc_cgroup: Path = _PROC_CGROUP, mount: Path = _MOUNT) -> Path | None:
    """Return the file that counts OOM kills in this process' memory cgroup, version 2 or 1; None if there is none."""
    try:
        lines = proc_cgroup.read_text().splitlines()
    except OSError:
        return None
    for candidate in _candidates(lines, mount):
        try:
            if _count(candidate.read_text()) is not None:
                return candidate
        except OSError:
            continue
    return None


def _candidates(lines: list[str], mount: Path) -> list[Path]:
    """Return where the counter may be, the likeliest first: the line of version 1 wins where both are mounted."""
    first, second = [], []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = path.lstrip("/")
        # In a container the path may be the host's, while the mount shows our own cgroup as its root.
        if "memory" in controllers.split(","):
            root = mount / "memory"
            first += [root / folder / "memory.oom_control", root / "memory.oom_control"]
        elif not controllers:
            second += [mount / folder / "memory.events", mount / "memory.events"]
    return first + second


def _count(text: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == _FIELD and value.isdigit():
            return int(value)
    return None
