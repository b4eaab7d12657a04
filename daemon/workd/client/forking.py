"""What is made anew in a forked child: sockets, threads and locks of the parent are of no use to it.

Used by the core of a synchronous client and by `RedisPool`. Only weak references are kept.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_all: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def begin_with_each_process(thing: T, begin: Callable[[T], None]) -> None:
    """Call `begin`, which makes all of `thing` that belongs to its process: now, and in each forked child."""
    begin(thing)
    _all[thing] = begin


def _begin_in_child() -> None:
    for thing, begin in list(_all.items()):
        begin(thing)


os.register_at_fork(after_in_child=_begin_in_child)
