"""What a forkserver is asked for and what it answers, as data. Made before anything heavy is imported."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from workd.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Mapping


# The factories of the two runners, named and not imported: only the forkserver has their libraries.
TASK_WORK: Final = "workd.pool.child.taskwork:make"
CALL_WORK: Final = "workd.pool.child.callwork:make"


class ForkserverDiedError(PoolError):
    """The forkserver ended while it was asked for something."""


StartMethod = Literal["forkserver", "spawn", "fork"]


class LoadSpec(NamedTuple):
    """What a forkserver loads: modules, the factory of the runner and its options, and where to look for modules.

    With `spawn` each worker is an interpreter of its own and loads all of it. With `fork` the runner was there before
    the fork, and nothing is loaded.
    """

    runner: str
    modules: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    path: tuple[str, ...] = ()
    start_method: StartMethod = "forkserver"


class Loaded(NamedTuple):
    """What a forkserver answers to a load: the catalogue, and threads that the modules left running."""

    catalogue: dict[str, Any]
    threads: tuple[str, ...]


class Forked(NamedTuple):
    """A new process: its pid, and a descriptor that stays its own when the pid is reused."""

    pid: int
    pidfd: int


class ExitStatus(NamedTuple):
    """What wait4 said of a process; None where nobody could ask it."""

    status: int | None
    peak_rss_bytes: int | None
