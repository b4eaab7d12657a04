"""Whether the kernel's OOM killer killed a worker: told by the counter of our own memory cgroup.

The kernel counts the processes that it killed for want of memory in each cgroup. A SIGKILL that nobody here sent, while
that counter rose, was the OOM killer. Where the counter can't be read nobody can know, and None says so: "unknown". Of
several workers that died by SIGKILL at once, as many count as the counter rose by.

Used by `boots.py` alone; the read is a few microseconds from memory, never from a disk. Paths are strings here: no
other part of a local pool needs `pathlib`, whose import its first result would wait for.

Source: Documentation/admin-guide/cgroup-v2.rst (`memory.events`, field `oom_kill`) and cgroup-v1/memory.rst
(`memory.oom_control`, field `oom_kill`) of the Linux kernel.
"""

from __future__ import annotations

from typing import Final

_PROC_CGROUP: Final = "/proc/self/cgroup"
_MOUNT: Final = "/sys/fs/cgroup"
_FIELD: Final = "oom_kill"


class OomWatch:
    """Compares the counter before and after each death."""

    def __init__(self, counter: str | None) -> None:
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
        return None if self._file is None else _count(self._file)


def find_counter(proc_cgroup: str = _PROC_CGROUP, mount: str = _MOUNT) -> str | None:
    """Return the file that counts OOM kills in this process' memory cgroup, version 2 or 1; None if there is none."""
    lines = _read(proc_cgroup).splitlines()
    return next((candidate for candidate in _candidates(lines, mount) if _count(candidate) is not None), None)


def _candidates(lines: list[str], mount: str) -> list[str]:
    """Return where the counter may be, the likeliest first: the line of version 1 wins where both are mounted."""
    first, second = [], []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folder = path.strip("/")
        # In a container the path may be the host's, while the mount shows our own cgroup as its root.
        if "memory" in controllers.split(","):
            root = f"{mount}/memory"
            first += [f"{root}/{folder}/memory.oom_control", f"{root}/memory.oom_control"]
        elif not controllers:
            second += [f"{mount}/{folder}/memory.events", f"{mount}/memory.events"]
    return first + second


def _count(file: str) -> int | None:
    for line in _read(file).splitlines():
        name, _, value = line.partition(" ")
        if name == _FIELD and value.isdigit():
            return int(value)
    return None


def _read(file: str) -> str:
    """Return the text of a file; nothing if it can't be read."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:  # noqa: PTH123 - see above
            return opened.read()
    except OSError:
        return ""
