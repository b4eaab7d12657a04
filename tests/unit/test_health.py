import asyncio
import json
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import uvloop

from workd.address import Address, TcpAddress, UnixAddress
from workd.cli import health as command
from workd.health import HealthServer, Report, addresses

FREE_PORT = TcpAddress("127.0.0.1", 0)


class FakeState:
    def __init__(self) -> None:
        self.liveness = Report(ok=True)
        self.readiness = Report(ok=False, reasons=["booting"], details={"workers": 0})
        self.consumption = Report(ok=True)

    def live(self) -> Report:
        return self.liveness

    def ready(self) -> Report:
        return self.readiness

    def consuming(self) -> Report:
        return self.consumption


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def path(tmp_path: Path) -> UnixAddress:
    return UnixAddress(str(tmp_path / "health.sock"))


@pytest.fixture
async def served(state: FakeState, path: UnixAddress) -> AsyncIterator[tuple[Address, ...]]:
    server = HealthServer(state, [FREE_PORT, path])
    yield await server.start()
    await server.stop()


async def ask(where: Address, what: str) -> command.Answer:
    return await asyncio.to_thread(command.ask, where, what, 5)


async def test_both_questions_are_answered_on_both_addresses(served: tuple[Address, ...], state: FakeState) -> None:
    assert len(served) == 2
    for where in served:
        assert await ask(where, "/livez") == command.Answer(200, {"ok": True, "reasons": []})
        unready = await ask(where, "/readyz")
        assert unready == command.Answer(503, {"ok": False, "reasons": ["booting"], "workers": 0})
    state.readiness = Report(ok=True)
    assert (await ask(served[0], "/readyz")).status == 200


async def test_uvloop_serves_the_same(state: FakeState, path: UnixAddress) -> None:
    async def session() -> list[int]:
        server = HealthServer(state, [FREE_PORT, path])
        statuses = [(await ask(where, "/livez")).status for where in await server.start()]
        await server.stop()
        return statuses

    def in_a_loop_of_its_own() -> list[int]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(session())

    assert await asyncio.to_thread(in_a_loop_of_its_own) == [200, 200]


async def test_a_port_that_is_taken_is_a_warning(served: tuple[Address, ...], state: FakeState) -> None:
    with structlog.testing.capture_logs() as lines:
        second = HealthServer(state, served)
        assert await second.start() == ()
        await second.stop()
    assert [(line["log_level"], line["address"]) for line in lines] == [("warning", str(address)) for address in served]
    assert (await ask(served[1], "/livez")).status == 200


async def test_a_name_that_does_not_resolve_is_a_warning(state: FakeState) -> None:
    with structlog.testing.capture_logs() as lines:
        assert await HealthServer(state, [TcpAddress("no.such.host.invalid", 1)]).start() == ()
    assert len(lines) == 1


async def test_a_directory_that_is_not_there_is_a_warning_and_is_not_made(state: FakeState, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        assert await HealthServer(state, [UnixAddress(f"{tmp_path}/absent/health.sock")]).start() == ()
    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", "No such file or directory")]
    assert list(tmp_path.iterdir()) == []


async def test_a_socket_that_a_dead_daemon_left_is_replaced(state: FakeState, path: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path.path)
    server = HealthServer(state, [path])
    assert await server.start() == (path,)
    assert (await ask(path, "/livez")).status == 200
    await server.stop()
    assert not Path(path.path).exists()


async def test_a_file_that_is_no_socket_is_left_alone(state: FakeState, path: UnixAddress) -> None:
    Path(path.path).write_text("mine")
    assert await HealthServer(state, [path]).start() == ()
    assert Path(path.path).read_text() == "mine"


async def test_others_may_not_use_the_socket(served: tuple[Address, ...], path: UnixAddress) -> None:
    assert stat.S_IMODE(Path(path.path).stat().st_mode) == 0o660


async def test_signals_stay_the_supervisors(state: FakeState) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server = HealthServer(state, [FREE_PORT])
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    await server.stop()


async def test_start_and_stop_are_safe_twice(state: FakeState) -> None:
    server = HealthServer(state, [FREE_PORT])
    await server.stop()
    first = await server.start()
    assert await server.start() == first
    await server.stop()
    await server.stop()
    with pytest.raises(ValueError, match="no daemon answers"):
        await ask(first[0], "/livez")
    again = await server.start()
    assert (await ask(again[0], "/livez")).status == 200
    await server.stop()


async def test_a_client_that_says_nothing_does_not_hold_up_the_stop(state: FakeState) -> None:
    server = HealthServer(state, [FREE_PORT])
    (where,) = await server.start()
    assert isinstance(where, TcpAddress)
    _, writer = await asyncio.open_connection(where.host, where.port)
    began = time.monotonic()
    await server.stop()
    assert time.monotonic() - began < 3
    writer.close()


def test_the_setting_and_the_daemons_own_socket_are_both_served() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/workd"}
    assert addresses("127.0.0.1:1", environ, 7) == (
        TcpAddress("127.0.0.1", 1),
        UnixAddress("/run/workd/health-7.sock"),
    )
    assert addresses("127.0.0.1:1", {}, 7) == (TcpAddress("127.0.0.1", 1),)
    assert addresses("", environ, 7) == ()


async def test_a_report_is_json_for_anybody(served: tuple[Address, ...]) -> None:
    where = served[0]
    assert isinstance(where, TcpAddress)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"content-type: application/json" in head
    assert json.loads(body)["workers"] == 0
