import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workd.settings import Settings
from workd.systemd import Notifier

UNIT = Path(__file__).parents[2] / "systemd" / "workd.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The service manager's end: NOTIFY_SOCKET and the socket behind it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@workd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        receiver.settimeout(5)
        yield name, receiver


def test_the_manager_is_told_each_state(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    notifier = Notifier.take({"NOTIFY_SOCKET": address})
    said = [
        notifier.ready("4 workers"),
        notifier.status("draining\n2 jobs"),
        notifier.status("the reload failed: \udc80"),
        notifier.watchdog(),
        notifier.extend_timeout(1.5),
        notifier.stopping(),
    ]
    assert said == [True] * 6
    assert [receiver.recv(4096).decode() for _ in said] == [
        "READY=1\nSTATUS=4 workers",
        "STATUS=draining 2 jobs",
        "STATUS=the reload failed: ?",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("text", ["ö\U0001f600" * 100_000, "\ud800 \udcff", "a\0b\x1b[31m\u2028c", "\0"])
def test_whatever_the_status_quotes_the_manager_takes_it(manager: tuple[str, socket.socket], text: str) -> None:
    address, receiver = manager
    assert Notifier.take({"NOTIFY_SOCKET": address}).ready(f"the reload failed: {text}")
    said = receiver.recv(65_536)
    assert len(said) < 4096, "systemd ignores what is longer"
    first, _, second = said.decode().partition("\n")
    assert first == "READY=1"
    assert second.startswith("STATUS=the reload failed: ")
    assert second.isprintable()


def test_a_reload_begins_with_the_time_that_the_manager_compares(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    before_us = time.monotonic_ns() // 1000
    assert Notifier.take({"NOTIFY_SOCKET": address}).reloading("new code")
    first, second, third = receiver.recv(4096).decode().split("\n")
    assert (first, third) == ("RELOADING=1", "STATUS=new code")
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.monotonic_ns() // 1000


def test_without_a_manager_nothing_is_said() -> None:
    assert not Notifier.take({}).ready()
    assert not Notifier.take({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
    assert not Notifier.take({"NOTIFY_SOCKET": "relative"}).ready()


def test_a_manager_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "nobody")).ready()


def test_a_manager_that_does_not_read_blocks_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        notifier = Notifier(path)
        assert not all(notifier.watchdog() for _ in range(5000))


def test_processes_that_are_started_later_do_not_speak_for_the_daemon() -> None:
    environ = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier.take(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("usec", "pid", "limit_s"),
    [
        ("30000000", "", 30.0),
        ("30000000", "42", 30.0),
        ("30000000", "41", None),
        ("0", "", None),
        ("", "", None),
        ("-1", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(usec: str, pid: str, limit_s: float | None) -> None:
    notifier = Notifier.take({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}, pid=42)
    assert notifier.watchdog_s == limit_s
    assert notifier.watchdog_interval_s == (None if limit_s is None else limit_s / 3)


def setting(name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == 1, name
    return str(found[0])


def test_the_unit_leaves_time_for_a_whole_drain() -> None:
    assert float(setting("TimeoutStopSec")) >= Settings().drain_s + 10


def test_the_unit_signals_the_daemon_alone() -> None:
    assert (setting("Type"), setting("KillMode"), setting("KillSignal")) == ("notify", "mixed", "SIGTERM")
