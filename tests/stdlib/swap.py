"""Puts another class where `multiprocessing.Pool` is, in a whole interpreter, for CPython's own cases.

Every way to a pool (`multiprocessing.Pool`, a context's, `from multiprocessing import Pool`, a manager's) looks up
`multiprocessing.pool.Pool` when it is used, so that one name is all there is to replace. `shadow.py` makes
interpreters that call `install` before anything else runs in them: then the cases, their workers, the processes
that they start and the scripts that they write are as CPython wrote them. Must stay light: all of those import it.
"""

from __future__ import annotations

import multiprocessing.context
import multiprocessing.pool
from importlib import import_module
from typing import Any, Final

STDLIB_POOL: Final[Any] = multiprocessing.pool.Pool

_POOLS: Final = {
    "workd": "stdlib.adapter:PoolWithCPythonsInternals",
    "stdlib": "stdlib.swap:STDLIB_POOL",
    "unmakeable": "stdlib.broken:UnmakeablePool",
    "wrong": "stdlib.broken:WrongPool",
    "untidy": "stdlib.broken:UntidyPool",
}

installed = ""  # the name of the pool that this interpreter has


def install(pool: str, start_method: str) -> None:
    """Make `pool` this interpreter's Pool, and `start_method` what it starts processes by if nobody says otherwise."""
    global installed  # noqa: PLW0603 - an interpreter has one
    # `set_start_method` would do the latter for good; CPython's scripts call it themselves, and may do so once.
    contexts: Any = multiprocessing.context
    contexts._default_context._default_context = contexts._concrete_contexts[start_method]
    # CPython's own Pool, and its ThreadPool, go on finding their parts under the name that is taken from them.
    parts = (name for name in vars(STDLIB_POOL) if name == "__init__" or not name.startswith("__"))
    vars(Pool).update({name: getattr(STDLIB_POOL, name) for name in parts})
    multiprocessing.pool.Pool = Pool  # type: ignore[assignment,misc]
    installed = pool


def Pool(*args: Any, **options: Any) -> Any:  # noqa: N802 - stands for the class, also in what a manager pickles
    """Make a pool of the installed kind; what it is made of is loaded by the first one."""
    module, _, name = _POOLS[installed].partition(":")
    return getattr(import_module(module), name)(*args, **options)
