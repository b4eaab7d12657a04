"""No lock, queue or semaphore is shared between processes: a killed worker would hold it for ever.

What the running processes really share is looked at in `fault/test_local_pool_channels.py`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import workd

OF_MULTIPROCESSING = {
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "SemLock",
    "Semaphore",
    "SimpleQueue",
    "Value",
    "managers",
    "shared_memory",
    "sharedctypes",
    "synchronize",
}
SHARED = {
    "multiprocessing": OF_MULTIPROCESSING,
    "_multiprocessing": OF_MULTIPROCESSING,
    "fcntl": {"flock", "lockf"},
    "os": {"lockf", "mkfifo"},
    "mmap": {"mmap"},
}
FOREIGN = {"filelock", "posix_ipc", "portalocker", "sysv_ipc"}  # modules that have nothing else
SOURCE = Path(workd.__file__).parent
ALLOWED = {SOURCE / "pool" / "child" / "result_queue.py"}  # one worker's own, made after the fork
NO_WORKERS = {(SOURCE / "cli" / "acl.py", "flock")}  # of a person's commands; the kernel frees it when one dies


def test_only_the_result_queue_uses_what_processes_can_share() -> None:
    found = [
        f"{path}:{line}: {name}"
        for path in SOURCE.rglob("*.py")
        if path not in ALLOWED
        for line, name in uses(path)
        if (path, name) not in NO_WORKERS
    ]
    assert found == []


def test_the_result_queue_is_made_by_its_worker_alone() -> None:
    makers = {path for path in SOURCE.rglob("*.py") for call in calls(path) if call == "ResultQueue"}
    assert makers == {SOURCE / "pool" / "child" / "worker.py"}


@pytest.mark.parametrize(
    "line",
    [
        "from multiprocessing import Lock",
        "from multiprocessing.queues import SimpleQueue as Q",
        "import multiprocessing; multiprocessing.Event()",
        "import multiprocessing as mp; mp.get_context('fork').Semaphore()",
        "import multiprocessing; multiprocessing.get_context('fork').Queue(1)",
        "import multiprocessing.shared_memory",
        "from multiprocessing import shared_memory",
        "from multiprocessing.synchronize import SemLock as S",
        "import _multiprocessing; _multiprocessing.SemLock(1, 1, 1, 'x', True)",
        "import fcntl; fcntl.flock(1, fcntl.LOCK_EX)",
        "import os; os.mkfifo('x')",
        "from mmap import mmap",
        "import mmap as m; m.mmap(-1, 1)",
        "import posix_ipc",
        "from filelock import FileLock",
    ],
)
def test_the_check_finds_each_way_to_write_it(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(line)
    assert list(uses(path))


def test_the_check_lets_pass_what_one_process_has_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "innocent.py"
    path.write_text(
        "import threading, asyncio, queue, fcntl, os\n"
        "threading.Lock(); asyncio.Event(); queue.SimpleQueue(); fcntl.fcntl(1, fcntl.F_GETFL); os.pipe()\n"
    )
    assert not list(uses(path))


def uses(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything that can be shared."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    roots: dict[str, str] = {}  # by the name that a module has here
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                roots[alias.asname or top(alias.name)] = top(alias.name)
                if top(alias.name) in FOREIGN or alias.name.rpartition(".")[2] in of(top(alias.name)) - {"mmap"}:
                    yield node.lineno, alias.name
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            module = top(node.module or "")
            found = [alias.name for alias in node.names if module in FOREIGN or alias.name in of(module)]
            yield from ((node.lineno, name) for name in found)
        elif isinstance(node, ast.Attribute) and node.attr in of(roots.get(root_of(node), "")):
            yield node.lineno, node.attr


def of(module: str) -> set[str]:
    return SHARED.get(module, set())


def top(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def root_of(node: ast.AST) -> str:
    """Return the name at the start of a chain of attributes and calls."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def calls(path: Path) -> Iterator[str]:
    """Yield the names of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
