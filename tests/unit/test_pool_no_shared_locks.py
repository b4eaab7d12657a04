"""No lock, queue or semaphore is shared between processes: a killed worker would hold it for ever."""

import ast
from collections.abc import Iterator
from pathlib import Path

import workd

SHARED = {
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
    "Semaphore",
    "SimpleQueue",
    "Value",
}
MODULES = ("managers", "shared_memory", "sharedctypes", "synchronize")
SOURCE = Path(workd.__file__).parent
ALLOWED = {SOURCE / "pool" / "result_queue.py"}  # one worker's own, made after the fork


def test_only_the_result_queue_uses_what_processes_can_share() -> None:
    found = [
        f"{path}:{line}: {name}" for path in SOURCE.rglob("*.py") if path not in ALLOWED for line, name in uses(path)
    ]
    assert found == []


def test_the_check_finds_each_way_to_write_it(tmp_path: Path) -> None:
    lines = [
        "from multiprocessing import Lock",
        "from multiprocessing.queues import SimpleQueue as Q",
        "import multiprocessing; multiprocessing.Event()",
        "import multiprocessing as mp; mp.get_context('fork').Semaphore()",
        "import multiprocessing.shared_memory",
        "from multiprocessing import shared_memory",
    ]
    for number, line in enumerate(lines):
        path = tmp_path / f"m{number}.py"
        path.write_text(line)
        assert list(uses(path)), line
    innocent = tmp_path / "innocent.py"
    innocent.write_text("import threading, asyncio, queue\nthreading.Lock(); asyncio.Event(); queue.SimpleQueue()\n")
    assert not list(uses(innocent))


def uses(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything of multiprocessing that can be shared."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    modules = [(node.lineno, alias) for node in imports for alias in node.names if is_ours(alias.name)]
    yield from ((line, alias.name) for line, alias in modules if alias.name.endswith(MODULES))
    names = {alias.asname or "multiprocessing" for _, alias in modules}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in {*SHARED, *MODULES})
        elif isinstance(node, ast.Attribute) and node.attr in SHARED and root_of(node) in names:
            yield node.lineno, node.attr


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] == "multiprocessing"


def root_of(node: ast.AST) -> str:
    """Return the name at the start of a chain of attributes and calls."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""
