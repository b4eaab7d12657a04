"""What is answered over HTTP: pages, methods, errors, and clients that get nowhere."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from workd import webapp
from workd.address import TcpAddress
from workd.health import HealthServer, Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FakeState:
    """Alive, not ready, consuming."""

    def live(self) -> Report:
        return Report(ok=True, details={"workers": 2})

    def ready(self) -> Report:
        return Report(ok=False, reasons=["booting"])

    def consuming(self) -> Report:
        return Report(ok=True)


class FakePages:
    """Pages with something on them; an error to raise instead of the metrics."""

    metrics_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.text = b"workd_up 1\n"
        self.error: Exception | None = None

    async def metrics(self) -> bytes:
        if self.error is not None:
            raise self.error
        return self.text

    async def status(self) -> dict[str, object]:
        return {"id": "me"}


@dataclass(slots=True)
class Answer:
    status: int
    head: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@pytest.fixture
def pages() -> FakePages:
    return FakePages()


@pytest.fixture
async def where(pages: FakePages) -> AsyncIterator[TcpAddress]:
    server = HealthServer(FakeState(), [TcpAddress("127.0.0.1", 0)], lambda: pages)
    (address,) = await server.start()
    assert isinstance(address, TcpAddress)
    yield address
    await server.stop()


async def ask(where: TcpAddress, path: str, method: str = "GET") -> Answer:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: workd\r\nConnection: close\r\n\r\n".encode())
    raw = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    named = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), named, body)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/livez", 200, {"ok": True, "reasons": [], "workers": 2}),
        ("/readyz", 503, {"ok": False, "reasons": ["booting"]}),
        ("/consuming", 200, {"ok": True, "reasons": []}),
        ("/status", 200, {"id": "me"}),
        ("/nowhere", 404, {"error": "there is no /nowhere here"}),
    ],
)
async def test_each_page_is_json_with_its_status(where: TcpAddress, path: str, status: int, body: Any) -> None:
    answer = await ask(where, path)
    assert (answer.status, json.loads(answer.body)) == (status, body)
    assert answer.head["content-type"] == "application/json"
    assert answer.head["cache-control"] == "no-store"


async def test_metrics_are_text_as_prometheus_wants_it(where: TcpAddress, pages: FakePages) -> None:
    answer = await ask(where, "/metrics")
    assert (answer.status, answer.body) == (200, pages.text)
    assert answer.head["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/consuming", "/metrics", "/status"])
async def test_head_is_the_same_without_a_body(where: TcpAddress, path: str) -> None:
    whole, head = await ask(where, path), await ask(where, path, "HEAD")
    assert (head.status, head.body) == (whole.status, b"")
    assert head.head["content-length"] == whole.head["content-length"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_nothing_can_be_changed_here(where: TcpAddress, method: str) -> None:
    answer = await ask(where, "/livez", method)
    assert (answer.status, json.loads(answer.body)) == (405, {"error": f"{method} is not answered, GET and HEAD are"})
    assert set(answer.head["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}


async def test_a_page_that_cannot_be_made_is_an_error_and_the_others_stay(
    where: TcpAddress, pages: FakePages, caplog: pytest.LogCaptureFixture
) -> None:
    pages.error = RuntimeError("no such slot")
    with structlog.testing.capture_logs() as lines:
        answer = await ask(where, "/metrics")
    assert (answer.status, list(json.loads(answer.body))) == (500, ["error"])
    assert [(line["path"], line["error"]) for line in lines] == [("/metrics", "RuntimeError: no such slot")]
    assert (await ask(where, "/livez")).status == 200


async def test_a_probe_is_answered_whatever_the_texts_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(ok=True, details={"reload_trouble": "half of a pair: \ud83d", "queue": "größe"})
    monkeypatch.setattr(FakeState, "live", lambda _: report)
    server = HealthServer(FakeState(), [TcpAddress("127.0.0.1", 0)])
    (address,) = await server.start()
    assert isinstance(address, TcpAddress)
    answer = await ask(address, "/livez")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "ok": True, "reasons": [], "reload_trouble": "half of a pair: ?", "queue": "größe"
    }  # fmt: skip
    await server.stop()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",  # no Host
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
    ],
)
async def test_what_is_no_request_is_refused_as_json_and_is_no_error_of_ours(
    where: TcpAddress, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    with structlog.testing.capture_logs() as lines:
        writer.write(said)
        head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
        assert (await ask(where, "/livez")).status == 200
    assert head.startswith(b"HTTP/1.1 400 ")
    assert list(json.loads(body)) == ["error"]
    assert not lines
    assert {record.levelname for record in caplog.records} <= {"WARNING"}
    writer.close()


async def test_without_pages_there_is_health_alone() -> None:
    server = HealthServer(FakeState(), [TcpAddress("127.0.0.1", 0)])
    (address,) = await server.start()
    assert isinstance(address, TcpAddress)
    assert (await ask(address, "/livez")).status == 200
    assert (await ask(address, "/metrics")).status == 404
    await server.stop()


# ── clients that get nowhere ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp, "PATIENCE_S", 0.3)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("said", [b"", b"GET /li", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01"])
async def test_a_client_that_sends_half_a_request_is_hung_up_on(where: TcpAddress, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(said)
    await reached_the_end(reader)
    writer.close()


@pytest.mark.usefixtures("_impatient")
async def test_a_byte_now_and_then_does_not_keep_a_connection(where: TcpAddress) -> None:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    ended = asyncio.ensure_future(reached_the_end(reader))
    while not ended.done():
        writer.write(b"G")
        await asyncio.sleep(0.02)
    await ended
    writer.close()


@pytest.mark.usefixtures("_impatient")
async def test_who_does_not_read_the_answer_is_hung_up_on(
    where: TcpAddress, pages: FakePages, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung_up, lose = asyncio.Event(), webapp.ImpatientProtocol.connection_lost

    def connection_lost(self: webapp.ImpatientProtocol, error: Exception | None) -> None:
        lose(self, error)
        hung_up.set()

    monkeypatch.setattr(webapp.ImpatientProtocol, "connection_lost", connection_lost)
    pages.text = b"#" * (16 << 20)  # more than the kernel buffers
    reader, writer = await asyncio.open_connection(where.host, where.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(hung_up.wait(), 60)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(len(pages.text)), 60)
    writer.close()


async def test_a_connection_serves_several_requests(where: TcpAddress) -> None:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    for _ in range(3):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        size = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        assert json.loads(await reader.readexactly(size))["ok"]
    writer.close()


async def test_however_many_connect_the_next_one_is_served_and_the_oldest_makes_room(
    where: TcpAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webapp, "PATIENCE_S", 600.0)
    held = [await asyncio.open_connection(where.host, where.port) for _ in range(webapp.MOST_CONNECTIONS)]
    assert (await ask(where, "/livez")).status == 200
    await reached_the_end(held[0][0])
    assert not held[-1][0].at_eof()
    for _, writer in held:
        writer.close()


async def reached_the_end(reader: asyncio.StreamReader) -> None:
    """Wait until the daemon has hung up, with or without a word about what was wrong."""
    try:
        await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return
