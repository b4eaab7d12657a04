import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workd.cli import health
from workd.exits import Exit


@contextmanager
def daemon(answer: bytes) -> Iterator[str]:
    """A daemon as far as a probe can see: one answer to every request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(4096))
                connection.sendall(answer)

        requests: list[bytes] = []
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def report(status: int, **fields: object) -> bytes:
    return b"HTTP/1.1 %d X\r\n\r\n" % status + json.dumps(fields).encode()


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKD_HTTP", raising=False)
    monkeypatch.delenv("WORKD_CONFIG", raising=False)


def test_a_ready_daemon_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(report(200, ok=True)) as where:
        assert health.main(["--http", where]) == Exit.OK
    assert capsys.readouterr().out == "ready\n"


def test_a_live_daemon_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(report(200, ok=True)) as where:
        assert health.main(["--live", "--http", where]) == Exit.OK
    assert capsys.readouterr().out == "alive\n"


def asked_of(*flags: str) -> tuple[bytes, int]:
    """Return the request that these flags send to a daemon that says yes, and the exit code."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(health.main([*flags, "--http", where])))
        thread.start()
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(4096)
            connection.sendall(report(200, ok=True))
        thread.join()
    return request.splitlines()[0], codes[0]


def test_each_question_goes_to_its_own_page(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, path, word in (
        ((), b"/readyz", "ready"),
        (("--ready",), b"/readyz", "ready"),
        (("--consuming",), b"/consuming", "consuming"),
        (("--live",), b"/livez", "alive"),
    ):
        assert asked_of(*flags) == (b"GET " + path + b" HTTP/1.1", Exit.OK)
        assert capsys.readouterr().out == f"{word}\n"


def test_one_question_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        health.main(["--live", "--consuming"])
    assert caught.value.code == Exit.USAGE
    assert "not allowed with" in capsys.readouterr().err


def test_a_daemon_that_takes_no_jobs_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(report(503, ok=False, reasons=["all queues are paused"])) as where:
        assert health.main(["--consuming", "--http", where]) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: not consuming: all queues are paused\n"


def test_a_daemon_that_is_not_ready_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(report(503, ok=False, reasons=["draining", "redis is away"])) as where:
        assert health.main(["--http", where]) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: not ready: draining; redis is away\n"


def test_the_whole_report_is_printed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(report(503, ok=False, workers=3)) as where:
        assert health.main(["--json", "--http", where]) == Exit.FAILURE
    assert json.loads(capsys.readouterr().out) == {"ok": False, "workers": 3}


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert health.main(["--http", f"unix:{tmp_path}/none.sock"]) == Exit.FAILURE
    assert capsys.readouterr().err == (
        f"workd: not healthy: no daemon answers at unix:{tmp_path}/none.sock: No such file or directory\n"
    )


def test_a_daemon_that_hangs_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        assert health.main(["--http", where, "--timeout-s", "0.1"]) == Exit.FAILURE
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello"])
def test_something_else_on_that_port_is_not_healthy(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(answer) as where:
        assert health.main(["--http", where]) == Exit.FAILURE
    assert "is not a workd" in capsys.readouterr().err


def test_a_wrong_flag_is_one_line_and_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        health.main(["--htp", "x"])
    assert caught.value.code == Exit.USAGE
    assert capsys.readouterr().err == "workd: health: unrecognized arguments: --htp x\n"


def test_the_address_is_found_where_the_daemon_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "workd.toml"
    config.write_text('http = "127.0.0.1:5"')
    assert health._configured(str(config)) == "127.0.0.1:5"
    monkeypatch.setenv("WORKD_CONFIG", str(config))
    assert health._configured(None) == "127.0.0.1:5"
    monkeypatch.setenv("WORKD_HTTP", "127.0.0.1:6")
    assert health._configured(None) == "127.0.0.1:6"
    monkeypatch.setenv("WORKD_HTTP", "")
    with pytest.raises(ValueError, match="answers nowhere"):
        health._configured(None)


def test_a_probe_loads_the_standard_library_alone() -> None:
    program = (
        "import sys; sys.argv = ['workd', 'health', '--http', '127.0.0.1:1']; from workd.__main__ import main; main();"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) <= {"workd", "__main__"}


def test_a_probe_loads_little_of_the_standard_library() -> None:
    """What each of these takes to import is a tenth of a probe's time, or more."""
    program = (
        "import sys; sys.argv = ['workd', 'health', '--http', '127.0.0.1:1']; from workd.__main__ import main; main();"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    heavy = {"asyncio", "dataclasses", "inspect", "pathlib", "tomllib", "urllib.request", "http.client", "ssl"}
    assert set(done.stdout.split()) & heavy == set()


async def test_a_slow_answer_is_waited_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in report(200, ok=True):
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(health.main, ["--http", f"127.0.0.1:{port}", "--timeout-s", "20"]) == Exit.OK


def test_an_answer_in_drips_has_no_more_time_than_another(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                for byte in report(200, ok=True):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        assert health.main(["--http", where, "--timeout-s", "0.5"]) == Exit.FAILURE
        thread.join()
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "1e300", "soon"])
def test_a_wait_that_is_no_span_of_time_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        health.main(["--timeout-s", seconds])
    assert caught.value.code == Exit.USAGE
    assert "--timeout-s" in capsys.readouterr().err


def test_what_a_daemon_says_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["Redis says \x1b[2J\x7f\u009b"]
    with daemon(report(503, reasons=reasons)) as where:
        assert health.main(["--http", where]) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: not ready: Redis says \\x1b[2J\\x7f\\x9b\n"
    with daemon(report(503, reasons=reasons)) as where:
        assert health.main(["--http", where, "--json"]) == Exit.FAILURE
    printed = capsys.readouterr().out
    assert {"\x1b", "\x7f", "\x9b"}.isdisjoint(printed)
    assert json.loads(printed) == {"reasons": reasons}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_nobody_takes_the_answer_the_exit_code_is_the_answer(unbuffered: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("wb") as full:
        for stdout in (full.fileno(), writing):
            with daemon(report(200, ok=True)) as where:
                done = subprocess.run(
                    [sys.executable, "-m", "workd", "health", "--http", where],
                    stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False, env=environ,
                )  # fmt: skip
            assert (done.returncode, done.stderr) == (Exit.OK, b"")
    os.close(writing)


@pytest.mark.parametrize("content", [b"\xff", b"http = ", None])
def test_a_settings_file_that_cannot_be_read_is_named(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "workd.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert health.main(["--config", str(path)]) == Exit.FAILURE
    assert capsys.readouterr().err.startswith(f"workd: not healthy: {path} cannot be read: ")
