"""What a map sends instead of the function: called in the worker with one chunk. Imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def map_chunk(func: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Call `func` with each item."""
    return list(map(func, items))


def starmap_chunk(func: Callable[..., Any], items: Iterable[Iterable[Any]]) -> list[Any]:
    """Call `func` with the elements of each item."""
    return [func(*item) for item in items]
