"""A daemon's supervisor in the test's own loop, so that a test can lay hands on one part of it; its pool is real."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from support.daemons import FOLDER, clean_environment
from support.waiting import eventually_async
from workd.settings import Settings
from workd.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from support.notify import NotifySocket

TASKS = "support.fault_tasks"
WATCHDOG_S = 1.0


@asynccontextmanager
async def supervisor(
    redis_url: str, folder: Path, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> AsyncIterator[Supervisor]:
    """Run one that tells `manager`; it is ready on entry, and told to stop now on exit."""
    fixed: dict[str, Any] = {"redis_url": redis_url, "modules": (TASKS,), "lease_s": 2, "http": "", "drain_s": 0}
    path = clean_environment()["PYTHONPATH"]
    for name, value in {FOLDER: str(folder), "PYTHONPATH": path, **manager.environment(WATCHDOG_S)}.items():
        monkeypatch.setitem(os.environ, name, value)
    running = Supervisor(Settings(**fixed | {"workers": 2} | settings))
    life = asyncio.ensure_future(running.main())
    try:
        await eventually_async(lambda: life.done() or manager.said("READY"), 30)
        assert not life.done(), life.result()
        yield running
    finally:
        running.stop_now()
        await asyncio.wait({life}, timeout=30)
        life.cancel()
        await asyncio.wait({life})
