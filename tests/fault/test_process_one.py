"""The daemon as process 1, as it is in a container: signals, orphans, the forkserver's death."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from support.daemons import clean_environment
from support.waiting import eventually
from workd import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

LONG_S = 60.0


def why_not() -> str | None:
    """Say what is missing to be process 1 of a namespace; None if nothing is."""
    if (unshare := shutil.which("unshare")) is None:
        return "unshare (util-linux) is missing"
    tried = subprocess.run([unshare, "-pf", "--mount-proc", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no PID namespace can be made here: {tried.stderr.strip()}"


class Contained:
    """`workd run` as process 1 of a PID namespace of its own."""

    def __init__(self, url: str, folder: Path, *modules: str) -> None:
        self._log = folder / "contained.log"
        options = {"redis_url": url, "workers": 2, "lease_s": 2, "http": "", "log_format": "json"}
        flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        # Killing `unshare` takes the namespace along, with all that is in it.
        self._command = ["unshare", "-pf", "--mount-proc", "--kill-child", "--"]
        self._command += [sys.executable, "-m", "workd", "run", *modules, *flags]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            eventually(self._is_ready, timeout_s=LONG_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The daemon's pid as seen from outside."""
        assert self._process is not None
        [pid] = _children(self._process.pid)
        return pid

    def children(self) -> dict[int, str]:
        """Return state and name of each child of process 1."""
        return {pid: _state_and_name(pid) for pid in _children(self.pid)}

    def end(self) -> int:
        """Send SIGTERM to process 1 and return the exit code."""
        assert self._process is not None
        os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(LONG_S)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return '"event": "ready"' in self.log()

    def log(self) -> str:
        return self._log.read_text(errors="replace")


def _children(pid: int) -> list[int]:
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def _state_and_name(pid: int) -> str:
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(" (")[2].rpartition(")")
    except OSError:
        return "gone"
    return f"{rest.split()[0]} {name}"


@pytest.fixture
def contained(redis_server: Server, tmp_path: Path) -> Iterator[Contained]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with Contained(redis_server.url, tmp_path, "support.orphan_tasks") as daemon:
        yield daemon


def zombies(daemon: Contained) -> list[str]:
    return [what for what in daemon.children().values() if what.startswith("Z")]


def test_process_one_reaps_what_tasks_leave_behind_and_goes_on_working(
    contained: Contained, redis_server: Server
) -> None:
    with Client(redis_server.url) as client:
        assert client.enqueue("leave", 20).get(timeout=LONG_S) == 20
        assert client.enqueue("die_beside_a_child").outcome(timeout=LONG_S).status == "dead"
        eventually(lambda: len(zombies(contained)) > 20, timeout_s=LONG_S)
        eventually(lambda: zombies(contained) == [], timeout_s=LONG_S)
        assert client.enqueue("leave", 0).get(timeout=LONG_S) == 0
    assert contained.end() == 0


def test_a_forkserver_that_dies_under_process_one_leaves_its_workers_to_it_and_costs_no_job(
    contained: Contained, redis_server: Server
) -> None:
    [forkserver] = contained.children()
    with Client(redis_server.url) as client:
        os.kill(forkserver, signal.SIGKILL)
        assert client.enqueue("leave", 1).get(timeout=LONG_S) == 1
        assert client.enqueue("die_beside_a_child").outcome(timeout=LONG_S).status == "dead"
        eventually(lambda: forkserver not in contained.children() and zombies(contained) == [], timeout_s=LONG_S)
        assert all(client.enqueue("leave", n).outcome(timeout=LONG_S).status == "succeeded" for n in range(10))
    assert contained.end() == 0
    [error] = [line for line in contained.log().splitlines() if '"level": "error"' in line]
    assert "the forkserver died" in error
