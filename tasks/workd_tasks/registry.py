"""The tasks that this process knows, by name and by function.

`@task` puts them in; workers, producers and the forkserver look them up. One registry per process: a name
must mean the same everywhere. Only registered names run, so this is also the list of what a message can make
a worker do.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from workd_tasks.errors import TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workd_tasks.define import Task

_by_name: dict[str, Task] = {}
_by_function: dict[Callable[..., Any], Task] = {}


def add(task: Task) -> None:
    """Register `task`; the same function, imported again, replaces itself.

    Raises `TaskDefinitionError` when another function has that name already.
    """
    known = _by_name.get(task.name)
    if known is not None:
        if not _same_source(known, task):
            raise TaskDefinitionError(
                f"two tasks are called {task.name!r}: {known.place} and {task.place}; rename one (name=...)"
            )
        _by_function.pop(known.fn, None)
    _by_name[task.name] = task
    _by_function[task.fn] = task


def _same_source(one: Task, other: Task) -> bool:
    """Tell a second import from a second function; what is run as a script is `__main__` too."""
    return one.qualname == other.qualname and (one.module == other.module or one.file == other.file)


def get(name: str) -> Task | None:
    """Return the task of that name, if there is one."""
    return _by_name.get(name)


def task_of(fn: Callable[..., Any]) -> Task | None:
    """Return the task that `fn` was registered as, if it was."""
    try:
        return _by_function.get(fn)
    except TypeError:  # a callable object that cannot be hashed is no task of ours
        return None


def all_tasks() -> Mapping[str, Task]:
    """Return every task by its name, in the order of registration."""
    return dict(_by_name)


def load(modules: Sequence[str]) -> None:
    """Import `modules`, then build the validators of every task.

    Raises whatever an import raises, and `TaskDefinitionError` for a signature that messages cannot be
    validated against. Signatures wait until here since annotations may name what is defined further down in a
    module. What is forked from this process afterwards has the validators already.
    """
    for module in modules:
        import_module(module)
    from workd_tasks.signature import of as signature_of  # pydantic: producers and task modules do without it

    for task in _by_name.values():
        signature_of(task)


def import_module(name: str) -> None:
    """Import one task module; raises `TaskDefinitionError` for what is no name of a module, before it is tried."""
    if fault := _name_fault(name):
        raise TaskDefinitionError(fault, name or repr(name))
    importlib.import_module(name)


def _name_fault(name: str) -> str:
    """Say what is wrong with a module's name: mostly it is a file's."""
    if not name:
        return "the name of a task module is empty"
    stem = name.removeprefix("./").removesuffix(".py").rstrip("/").replace("/", ".")
    if name.endswith(".py") and _is_dotted(stem):
        return f"{name} is a file name; did you mean {stem}?"
    if "/" in name:
        hint = f"did you mean {stem}?" if _is_dotted(stem) else "name it as import does, with its folder in PYTHONPATH"
        return f"{name} is a path; {hint}"
    if not _is_dotted(name):
        return f"{name!r} is not the name of a module; name it as import does, from its top package on"
    return ""


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def catalogue() -> dict[str, dict[str, Any]]:
    """Return what the supervisor, which imports no user code, must know of each task, as plain JSON data."""
    return {task.name: _facts(task) for task in _by_name.values()}


def _facts(task: Task) -> dict[str, Any]:
    facts = task.options.as_dict() | {"module": task.module, "is_async": task.is_async}
    return facts | {"parameters": _named_by_position(task)} if task.options.unique else facts


def _named_by_position(task: Task) -> list[str]:
    """List the parameters that a message may give by position or by name; none where a name can mean two things."""
    parameters = inspect.signature(task.fn).parameters.values()
    if any(one.kind is one.POSITIONAL_ONLY for one in parameters):
        return []
    return [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
