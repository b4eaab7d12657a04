"""Find processes by what the kernel says of them: the one at the other end of a connection, and those that are left.

The demo kills a worker that is certainly in the middle of a job: the one whose request its web site is holding.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_STATE, _PARENT = 0, 1  # of /proc/PID/stat, behind the name
_ENDED = "XZ"  # gone, or waiting for its parent to look
_LOCAL, _REMOTE, _INODE = 1, 2, 9  # columns of /proc/net/tcp


def pid_of_connection(client_port: int, server_port: int, ancestor_pid: int) -> int | None:
    """Return the descendant of `ancestor_pid` that holds the client's end of a connection on 127.0.0.1."""
    inode = _inode(client_port, server_port)
    if inode is None:
        return None
    target = f"socket:[{inode}]"
    return next((pid for pid in descendants(ancestor_pid) if target in _open_files(pid)), None)


def _inode(client_port: int, server_port: int) -> str | None:
    ends = (f"0100007F:{client_port:04X}", f"0100007F:{server_port:04X}")
    for line in (_PROC / "net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if (columns[_LOCAL], columns[_REMOTE]) == ends:
            return columns[_INODE]
    return None


def descendants(ancestor_pid: int) -> list[int]:
    """Return the pids of all children of a process, and theirs."""
    parents = {pid: _parent(pid) for pid in (int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit())}
    found = [ancestor_pid]
    for pid in found:  # grows while it is walked: children of children come behind their parents
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def running(pids: list[int]) -> list[int]:
    """Return those processes that have not ended."""
    return [pid for pid in pids if _stat(pid)[_STATE] not in _ENDED]


def _parent(pid: int) -> int:
    return int(_stat(pid)[_PARENT])


def _stat(pid: int) -> list[str]:
    """Return what follows the name in a process' stat; of one that is gone, as if it had just ended."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ["X", "0"]
    return stat.rpartition(")")[2].split()  # the name may hold anything, parentheses too


def _open_files(pid: int) -> set[str]:
    files = set()
    with suppress(OSError):
        for name in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                files.add(str(name.readlink()))
    return files
