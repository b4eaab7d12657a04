"""Many jobs waited for together, for asyncio: see gathering.py, whose rules are the same."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from workd.client.gathering import DoneAndNotDone, Waiting, check_return_when, is_enough, split, timeout_of
from workd.errors import ResultTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from workd.client.async_core import AsyncCore
    from workd.client.gathering import ReturnWhen
    from workd.client.handle import AsyncHandle
    from workd.wire import Outcome


async def wait(
    core: AsyncCore, handles: Iterable[AsyncHandle[Any]], timeout_s: float | None, when: ReturnWhen
) -> DoneAndNotDone[Any]:
    """Wait until enough of the jobs have ended."""
    check_return_when(when)
    given = list(dict.fromkeys(handles))
    async with aclosing(completed(core, given, timeout_s)) as ending:
        try:
            async for handle in ending:
                if is_enough(handle, when):
                    break
        except ResultTimeoutError:
            pass
    return split(given)


async def completed(
    core: AsyncCore, handles: Iterable[AsyncHandle[Any]], timeout_s: float | None
) -> AsyncGenerator[AsyncHandle[Any], None]:
    """Yield each handle when its job has ended; ResultTimeoutError after `timeout_s` in all."""
    end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
    waiting = Waiting(core, handles)
    arrived: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
    tellers = waiting.tellers(arrived.put_nowait)
    for handle in waiting.ended:
        yield handle
    try:
        await core.subscribe(waiting.jobs(), list(tellers.values()), end_s)
        for pause_s in waiting.pauses():
            until_s = min(end_s, time.monotonic() + pause_s)
            while waiting.pending:
                try:
                    async with asyncio.timeout(timeout_of(until_s)):
                        place, outcome = await arrived.get()
                except TimeoutError:
                    break
                if (ended := waiting.take(place, outcome)) is not None:
                    yield ended
                else:
                    core.replies.expect(waiting.key(place), tellers[place])
            if not waiting.pending:
                return
            if until_s == end_s:
                raise waiting.late(timeout_s or 0.0)
            await core.look_for(waiting.polled(), end_s)
    finally:
        waiting.forget(tellers)
