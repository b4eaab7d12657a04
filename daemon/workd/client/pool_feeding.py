"""The thread behind `imap`: it enqueues as room is made, since the iterable may be slow or without end.

Started by RedisPool, of which it holds nothing while it waits: a pool and its iterator that nobody has any more are
gone, connections and all, and with them the thread.
"""

from __future__ import annotations

import threading
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd.client.message import Draft
    from workd.client.pool_progress import Progress, Sink
    from workd.client.pool_results import Shelf
    from workd.client.redis_pool import RedisPool

    PoolOf = Callable[[], RedisPool | None]


def start(pool: RedisPool, shelf: Shelf[Any], draft: Draft, raws: Iterator[bytes], most: int, prog: Progress) -> None:
    """Have messages enqueued, at most `most` in a call, and their values put on the shelf."""
    pool_of = weakref.ref(pool, lambda _: shelf.no_more())
    sinks = map(prog.counted, map(shelf.place, count()))
    arguments = pool_of, shelf, draft, raws, most, sinks, prog
    threading.Thread(target=_feed, args=arguments, name="workd-imap", daemon=True).start()


def _feed(
    pool_of: PoolOf,
    shelf: Shelf[Any],
    draft: Draft,
    raws: Iterator[bytes],
    most: int,
    sinks: Iterator[Sink],
    progress: Progress,
) -> None:
    error: BaseException | None = None
    try:
        for first in raws:  # no place is taken for what is not there
            if not (shelf.make_room(most) and _sent(pool_of(), draft, first, raws, most, sinks)):
                break
        progress.all_sent()
    except BaseException as raised:  # noqa: BLE001 (the iterable's or ours: it is raised where the values are taken)
        error = raised
    shelf.no_more(error)
    if (pool := pool_of()) is not None:
        pool.fed(shelf)


def _sent(
    pool: RedisPool | None, draft: Draft, first: bytes, raws: Iterator[bytes], most: int, sinks: Iterator[Sink]
) -> bool:
    """Send one call; False if nobody has the pool any more."""
    if pool is None:
        return False
    pool.send_some(draft, first, raws, most, sinks)
    return True
