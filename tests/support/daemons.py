"""Real daemons for the fault tests: `workd run` as a process of its own, with everything a test does to one.

Every process that a daemon makes, its grandchildren included, carries a mark of that daemon in its environment. By
that mark they are found in /proc, whoever their parent is by now, so that `close` can promise that nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import support
import workd
import workd_tasks
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "FAULT_TEST_DAEMON"
FOLDER = "FAULT_TEST_FOLDER"
TASKS = "support.fault_tasks"

READY_TIMEOUT_S = 20.0
EXIT_TIMEOUT_S = 15.0
ORPHANS_TIMEOUT_S = 2.0  # the promise: what a dead daemon leaves behind is gone by then


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What /proc says of one process."""

    pid: int
    parent_pid: int
    session_id: int
    state: str  # R, S, D, T, Z…
    command_line: str

    @property
    def leads_a_session(self) -> bool:
        return self.pid == self.session_id


class DaemonProcess:
    """One `workd run` from start to end. Use as a context manager, or `start` and `close`."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        *,
        modules: tuple[str, ...] = (TASKS,),
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        """Take settings by name, as in `lease_s=2`, None for the default; in `folder` tasks have journal and gates."""
        self.mark = secrets.token_hex(8)
        self._folder = folder
        self._stderr_path = folder / f"daemon-{self.mark}.log"
        chosen = {"redis_url": redis_url, "workers": 2, "lease_s": 2, "http": "", "log_format": "json"} | settings
        given = {name: value for name, value in chosen.items() if value is not None}
        flags = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self._command = [sys.executable, "-m", "workd", "run", *modules, *flags]
        self._environment = clean_environment() | {MARK: self.mark, FOLDER: str(folder)} | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> DaemonProcess:
        """Start the process; it is not ready yet."""
        assert self._process is None, "the daemon was started already"
        with self._stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*_die_with_parent(), *self._command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        return self

    def wait_ready(self) -> DaemonProcess:
        """Wait until it says that it is consuming with all its workers."""
        self.wait_log("ready", timeout_s=READY_TIMEOUT_S)
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone."""
        self._process_now().send_signal(number)

    def term(self) -> None:
        """Tell it to drain and end."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it as the OOM killer would, and wait for that."""
        self.send(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Stop the supervisor where it is; its workers run on."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused supervisor go on."""
        self.send(signal.SIGCONT)

    def wait(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Wait for its end and return the exit code; a signal is negative."""
        try:
            return self._process_now().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon has not ended within {timeout_s} s:\n{self.log_text()}") from None

    def close(self) -> None:
        """End it, if it has not ended, and make sure that none of its processes is left. Safe twice."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.kill()
        left = self.processes()
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while left and time.monotonic() < deadline:
            time.sleep(0.01)
            left = self.processes()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        assert not left, f"a daemon left processes behind: {left}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process_now().pid

    @property
    def alive(self) -> bool:
        """Whether the supervisor has not ended."""
        return self._process_now().poll() is None

    def processes(self) -> list[ProcessInfo]:
        """Return every process of this daemon but the supervisor; what is dead and not yet reaped does not count."""
        sign = f"{MARK}={self.mark}".encode()
        found = (_process_info(int(name), sign) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
        return [process for process in found if process is not None and process.pid != self._process_now().pid]

    def forkserver_pids(self) -> list[int]:
        """Return the pids of the processes that make workers: mostly one."""
        return [process.pid for process in self.processes() if self._is_forkserver(process)]

    def worker_pids(self) -> list[int]:
        """Return the pids of the workers, those of a dead forkserver included."""
        return [p.pid for p in self.processes() if p.leads_a_session and not self._is_forkserver(p)]

    def _is_forkserver(self, process: ProcessInfo) -> bool:
        return process.parent_pid == self.pid and "workd.pool.child.forkserver" in process.command_line

    # ── what it says ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def daemon_id(self) -> str:
        """Its name in leases and outcomes."""
        return str(self.log("starting")[0]["daemon"])

    def log_text(self) -> str:
        """Return all that it has written, its tasks' output included."""
        return self._stderr_path.read_text(errors="replace")

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return its log lines: all of them, or those of one event."""
        lines = []
        for text in self.log_text().splitlines(keepends=True):
            if text.startswith("{") and text.endswith("}\n"):
                with contextlib.suppress(json.JSONDecodeError):
                    lines.append(json.loads(text))
        return [line for line in lines if event in (None, line.get("event"))]

    def wait_log(self, event: str, *, count: int = 1, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until it has logged an event `count` times, and return the last of those lines."""
        deadline = time.monotonic() + timeout_s
        while len(lines := self.log(event)) < count:
            assert self.alive, f"the daemon ended with {self.wait()} before it said {event!r}:\n{self.log_text()}"
            assert time.monotonic() < deadline, f"no {event!r} within {timeout_s} s:\n{self.log_text()}"
            time.sleep(0.01)
        return lines[count - 1]

    def wait_workers(self, count: int, *, without: int | None = None) -> list[int]:
        """Wait until so many workers are there, a certain one not among them; return their pids."""
        pids = eventually(lambda: (pids := self.worker_pids()) and len(pids) == count and without not in pids and pids)
        assert pids
        return pids

    def _process_now(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon was not started"
        return self._process


def is_running(pid: int) -> bool:
    """Say whether a process exists and is not merely waiting to be reaped."""
    info = _process_info(pid)
    return info is not None


def _process_info(pid: int, sign: bytes = b"") -> ProcessInfo | None:
    """Read /proc; None for what is gone, a zombie, or without `sign` in its environment."""
    folder = Path("/proc") / str(pid)
    try:
        if sign and sign not in (folder / "environ").read_bytes():
            return None
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        command_line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if stat[0] in "ZX":
        return None
    return ProcessInfo(pid, int(stat[1]), int(stat[3]), stat[0], command_line)


def clean_environment() -> dict[str, str]:
    """Return an environment in which a process finds the packages that this test run uses, and no settings."""
    roots = {str(Path(str(package.__file__)).parents[1]): None for package in (workd, workd_tasks, support)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKD_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(roots)}


def _die_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
