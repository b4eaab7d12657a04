"""Closing a connection of redis-py's at once, encrypted ones too.

An encrypted transport that is closed says goodbye and keeps its socket until the other end has answered, for half a
minute where nobody does; a loop that ends before leaves the socket open. Nobody needs that goodbye: a connection is
closed when no answer is awaited any more, or none is to be believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import AbstractConnection, Connection

if TYPE_CHECKING:
    import asyncio


def closing_at_once(connection_class: type[AbstractConnection]) -> type[Any]:
    """Make of one of redis-py's classes one whose connections leave no socket behind when they are closed."""
    if not issubclass(connection_class, Connection):
        return connection_class  # a unix socket is never encrypted

    class Closing(connection_class):  # type: ignore[misc, valid-type]  # a class that is known when it runs
        async def disconnect(self, *arguments: Any, **named: Any) -> None:
            writer: asyncio.StreamWriter | None = self._writer  # no release of redis-py gives it out in public
            if writer is not None:
                writer.transport.abort()
            await super().disconnect(*arguments, **named)

    return Closing
