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

    SendSome = Callable[[Draft, bytes, Iterator[bytes], int, Iterator[Sink]], None]
    """Enqueues a message and what comes next of others, at most so many; gives each a sink."""


def start(
    send_some: SendSome,
    fed: Callable[[Shelf[Any]], None],
    shelf: Shelf[Any],
    draft: Draft,
    raws: Iterator[bytes],
    most: int,
    progress: Progress,
) -> None:
    """Have messages enqueued, at most `most` in a call, and their values put on the shelf; `fed` is called at the end.

    The two are methods of the pool: once it is gone, nothing more is fed.
    """
    pools_send = weakref.WeakMethod(send_some, lambda _: shelf.no_more())
    arguments = pools_send, weakref.WeakMethod(fed), shelf, draft, raws, most, progress
    threading.Thread(target=_feed, args=arguments, name="workd-imap", daemon=True).start()


def _feed(
    pools_send: weakref.WeakMethod[SendSome],
    pools_fed: weakref.WeakMethod[Callable[[Shelf[Any]], None]],
    shelf: Shelf[Any],
    draft: Draft,
    raws: Iterator[bytes],
    most: int,
    progress: Progress,
) -> None:
    error: BaseException | None = None
    sinks = map(progress.counted, map(shelf.place, count()))
    try:
        for first in raws:  # no place is taken for what is not there
            if not shelf.make_room(most) or (send_some := pools_send()) is None:
                break
            send_some(draft, first, raws, most, sinks)
            del send_some  # it holds the pool
        progress.all_sent()
    except BaseException as raised:  # noqa: BLE001 (the iterable's or ours: it is raised where the values are taken)
        error = raised
    shelf.no_more(error)
    if (fed := pools_fed()) is not None:
        fed(shelf)
