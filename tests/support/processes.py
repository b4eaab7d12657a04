"""What /proc says about processes."""

from contextlib import suppress
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Say whether a process runs: the zombie of a dead parent is init's business."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


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
