"""Both kinds of client behind one face, for tests of what they have in common."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self

from workd.client.async_client import AsyncClient
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable

KINDS = ("sync", "async")


class AnyClient:
    """A `Client` or an `AsyncClient`: `await client.call("enqueue", ...)` either way."""

    def __init__(self, kind: str, url: str, **arguments: Any) -> None:
        self.kind = kind
        self.client: Any = (Client if kind == "sync" else AsyncClient)(url, **arguments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await resolved(self.client.close())

    async def call(self, method: str, *arguments: Any, options: dict[str, Any] | None = None, **named: Any) -> Any:
        """Call a method of the client, or of a view of it with these options."""
        view = self.client if options is None else self.client.with_options(**options)
        return await resolved(getattr(view, method)(*arguments, **named))


async def resolved(value: Any) -> Any:
    """Await what has to be awaited."""
    if inspect.isawaitable(value):
        awaited: Awaitable[Any] = value
        return await awaited
    return value
