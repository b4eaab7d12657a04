"""New code and new settings, while the daemon runs: asked for by SIGHUP, a command, or a file that changed.

A loop of the supervisor's. A reload reads the settings again, loads the code into a process beside the present one, and
only when both are good puts it into one slot after the other. What fails, fails before anything has changed, and is
said in the log and in the status line. One at a time: what asks during a reload gets one more after it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from workd import changes
from workd.crontab import lines_of_tasks
from workd.errors import BootError, PoolError, SettingsError
from workd.log import get_logger
from workd.schedule import until
from workd_tasks import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workd.changes import Changes
    from workd.pool.core import ProcessPool
    from workd.pool.owner import PoolOptions
    from workd.settings import Settings

    Catalogue = Mapping[str, Mapping[str, Any]]

SHOWN_TASKS = 20
STOPPING = "the daemon is stopping"

_log = get_logger("workd.reload")


class Daemon(Protocol):
    """Whose code and settings are replaced: the supervisor."""

    def pool_options(self, settings: Settings) -> PoolOptions:
        """Return what the pool is to go on with."""

    def adopt(self, new: Changes, catalogue: Catalogue) -> None:
        """Go on with these settings and tasks: every slot has a worker with them."""

    def note_reload(self, *, under_way: bool, trouble: str = "") -> None:
        """Hear that one begins, or has ended, and why it came to nothing."""


class Reload:
    """The reloads of one daemon, one after the other."""

    def __init__(
        self, daemon: Daemon, pool: ProcessPool, settings: Settings, read: Callable[[], Settings] | None = None
    ) -> None:
        """`read` reads all sources of the settings anew; None: they do not change."""
        self._daemon = daemon
        self._pool = pool
        self._settings = settings
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._asked: list[asyncio.Future[str]] = []
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._known: frozenset[str] = frozenset()

    def note_tasks(self, catalogue: Catalogue) -> None:
        """Hear which tasks there are before the first reload."""
        self._known = frozenset(catalogue)

    def ask(self) -> asyncio.Future[str]:
        """Have a reload begin now, or after the one that is under way; its end is the answer, empty if all is well."""
        answer: asyncio.Future[str] = self._loop.create_future()
        if self._stopped.is_set():
            answer.set_result(STOPPING)
            return answer
        self._asked.append(answer)
        self._wake.set()
        return answer

    def stop(self) -> None:
        """Reload no more; what is under way is left where it is. Safe to call twice."""
        self._stopped.set()

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        answers: list[asyncio.Future[str]] = []
        try:
            while not self._stopped.is_set():
                await until(self._stopped, self._wake.wait())
                self._wake.clear()
                answers, self._asked = self._asked, []
                trouble = await until(self._stopped, self._reload()) if answers else None
                _answer(answers, STOPPING if trouble is None else trouble)
            await asyncio.Event().wait()  # this loop ends with the daemon
        finally:
            _answer([*answers, *self._asked], STOPPING)

    async def _reload(self) -> str:
        """Reload once; return what went wrong."""
        _log.info("reloading")
        self._daemon.note_reload(under_way=True)
        trouble = ""
        try:
            new = await self._read_settings()
            catalogue = await self._load(new)
            self._daemon.adopt(new, catalogue)
            self._settings = new.settings
            self._tell(new, catalogue)
        except (SettingsError, PoolError, TaskError, OSError) as error:
            trouble = self._complain(error)
        except Exception as error:  # noqa: BLE001 - whatever it is: a daemon that works must not end for a reload
            trouble = f"{type(error).__name__}: {error}"
            _log.exception("the reload failed")
        finally:
            self._daemon.note_reload(under_way=False, trouble=trouble)
        return trouble

    async def _read_settings(self) -> Changes:
        if self._read is None:
            return changes.between(self._settings, self._settings)
        return changes.between(self._settings, await asyncio.to_thread(self._read))

    async def _load(self, new: Changes) -> Catalogue:
        former = self._pool.options
        self._pool.change(self._daemon.pool_options(new.settings))
        try:
            return await self._pool.reload(lines_of_tasks)  # a line that cannot be is found out before anything changes
        except BaseException:
            self._pool.change(former)
            raise

    def _tell(self, new: Changes, catalogue: Catalogue) -> None:
        before, now = self._known, frozenset(catalogue)
        self._known = now
        facts: dict[str, object] = {"tasks": len(now)}
        facts |= {"new": sorted(now - before)[:SHOWN_TASKS]} if now - before else {}
        facts |= {"gone": sorted(before - now)[:SHOWN_TASKS]} if before - now else {}
        facts |= {"settings": list(new.changed)} if new.changed else {}
        _log.info("reloaded", **facts)
        if new.ignored:
            _log.warning("these settings can't change while the daemon runs: restart it", settings=list(new.ignored))
        if not now:
            _log.warning("the task modules define no task: every message will be a dead letter")

    @staticmethod
    def _complain(error: Exception) -> str:
        more = {"exception": error.traceback} if isinstance(error, BootError) and error.traceback else {}
        _log.error("the reload failed; everything goes on as before", cause=str(error), **more)
        return str(error)


def _answer(waiting: list[asyncio.Future[str]], trouble: str) -> None:
    for answer in waiting:
        if not answer.done():
            answer.set_result(trouble)
    waiting.clear()
