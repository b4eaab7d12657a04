"""What the daemon answers over HTTP, and how: the routes, errors as JSON, and no patience with slow clients.

Made by `health` when its server starts; starlette and uvicorn are imported by then. No page waits for Redis or a
worker. A client that sends half a request, or does not read its answer, is hung up on, and only so many are served at
once: whatever somebody does here, probes are answered and no descriptor of the daemon's is used up.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from workd.log import get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from workd.health import HealthState, Pages, Report

PATIENCE_S: Final = 10.0
"""What a client has for a request, and for taking the answer; then its connection is cut."""
MOST_CONNECTIONS: Final = 100
"""At the same time. For one more, the oldest is cut: it is mostly one that nobody uses, and a new one is a probe."""
_HEADERS: Final = {"Cache-Control": "no-store"}
_NO_REQUEST: Final = b'{"error":"this is no HTTP request"}'
_REFUSAL: Final = b"\r\n".join(
    (
        b"HTTP/1.1 400 Bad Request",
        b"content-type: application/json",
        b"cache-control: no-store",
        b"content-length: %d" % len(_NO_REQUEST),
        b"connection: close",
        b"",
        _NO_REQUEST,
    )
)

_log = get_logger(__name__)
_numbers = itertools.count(1)


class _Json(JSONResponse):
    """JSON that can be sent whatever is in its texts: a probe that gets no answer has a daemon restarted."""

    def render(self, content: Any) -> bytes:
        """Write it; what is no text (half a surrogate pair) is a question mark."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def make_app(state: HealthState, pages: Pages | None = None) -> Starlette:
    """Build the application: health is 200 or 503 and the whole report as JSON either way; GET and HEAD alone."""

    def health(report: Callable[[], Report]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(_request: Request) -> Response:
            return _answer(report())

        return endpoint

    routes = [
        Route("/livez", health(state.live)),
        Route("/readyz", health(state.ready)),
        Route("/consuming", health(state.consuming)),
    ]
    if pages is not None:
        routes += _routes_of(pages)
    handlers: dict[Any, Any] = {HTTPException: _refused, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=handlers)


def _routes_of(pages: Pages) -> list[Route]:
    async def metrics(_request: Request) -> Response:
        return Response(await pages.metrics(), headers=_HEADERS, media_type=pages.metrics_type)

    async def status(_request: Request) -> Response:
        return _Json(await pages.status(), headers=_HEADERS)

    return [Route("/metrics", metrics), Route("/status", status)]


def _answer(report: Report) -> Response:
    body = {"ok": report.ok, "reasons": list(report.reasons), **report.details}
    return _Json(body, status_code=200 if report.ok else 503, headers=_HEADERS)


async def _refused(request: Request, error: HTTPException) -> Response:
    """Answer what there is not, or not by this method, as JSON like all else."""
    error_of = {404: f"there is no {request.url.path} here", 405: f"{request.method} is not answered, GET and HEAD are"}
    body = {"error": error_of.get(error.status_code, error.detail)}
    headers = {**_HEADERS, **(error.headers or {})}
    return _Json(body, status_code=error.status_code, headers=headers)


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("a page could not be made", path=request.url.path, error=f"{type(error).__name__}: {error}")
    return _Json({"error": "this page could not be made; the log says why"}, status_code=500, headers=_HEADERS)


class ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP, with an end to every connection that gets nowhere."""

    _deadline: asyncio.TimerHandle | None = None
    number = 0  # of the connection, in order

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to count."""
        super().connection_made(transport)
        self.number = next(_numbers)
        self._extend()
        if len(self.connections) > MOST_CONNECTIONS:
            ours = (one for one in self.connections if isinstance(one, ImpatientProtocol))
            min(ours, key=lambda one: one.number).transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._extend()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn's, which logs it
        """Refuse what is no request, as JSON like all else; one before it whose body went wrong has no answer."""
        before: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
        if before is None or before.response_complete or not before.response_started:  # else an answer is on its way
            self.transport.write(_REFUSAL)
        if before is not None:
            before.disconnected = True  # or its answer would be an error in our log, which is the client's
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _extend(self) -> None:
        """Give the client its time anew, for the next request, or for what is still to be read of this answer."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(PATIENCE_S, self.transport.abort)
