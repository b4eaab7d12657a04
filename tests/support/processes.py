"""What /proc says about processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from support.waiting import eventually


def is_alive(pid: int) -> bool:
    """Say whether a process runs: the zombie of a dead parent is init's business."""
    return _state(pid) not in "ZX"


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped by a signal."""
    return _state(pid) == "T"


def stop(pid: int) -> None:
    """Stop a process; until it stands it may still do something."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid) or not is_alive(pid))


def kill(pid: int) -> None:
    """Kill a process; until it is dead the kernel may still give it what is sent to it."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid))


def exists(pid: int) -> bool:
    """Say whether there is such a process, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[int]:
    """Return the pids of a process' children, zombies included."""
    try:
        lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(int(child) for pids in lists for child in pids)


def descriptors() -> dict[int, str]:
    """Return what this process' file descriptors are; the one of the listing itself is left out."""
    found = {}
    for path in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            found[int(path.name)] = str(path.readlink())
    return found


def _state(pid: int) -> str:
    """Return the letter that ps shows; X, for dead, if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
