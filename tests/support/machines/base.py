"""What all machines can do: run a command in one, write a file, wait for a condition, say how a unit is."""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S: Final = 120.0
TIMED_OUT: Final = 124  # as timeout(1) says it
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Final = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command in a machine ended: exit code (negative: signal) and all that it wrote."""

    code: int
    out: str
    err: str


class Machine(ABC):
    """A booted Debian. `run` and `sh` are as root, from /, with a clean environment and no input of their own."""

    @abstractmethod
    def execute(self, argv: list[str], *, stdin: str, timeout_s: float) -> Completed:
        """Run one command to its end."""

    @abstractmethod
    def start(self) -> Self:
        """Boot it; returns when commands can be run."""

    @abstractmethod
    def stop(self) -> None:
        """End the machine and remove what it left; safe twice."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *argv: str, stdin: str = "", timeout_s: float = TIMEOUT_S) -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.execute(list(argv), stdin=stdin, timeout_s=timeout_s)
        assert done.code == 0, f"{shlex.join(argv)}: exit code {done.code}\n{done.out}\n{done.err}"
        return done.out

    def tried(self, *argv: str, timeout_s: float = TIMEOUT_S) -> Completed:
        """Run a command that may fail."""
        return self.execute(list(argv), stdin="", timeout_s=timeout_s)

    def sh(self, script: str, *, timeout_s: float = TIMEOUT_S) -> str:
        """Run a shell script whose every line has to succeed; return what it printed."""
        return self.run("bash", "-euo", "pipefail", "-c", script, timeout_s=timeout_s)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of root's, and the folders above it."""
        script = 'mkdir -p "${1%/*}" && cat > "$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"'
        self.run("sh", "-euc", script, "sh", path, f"{mode:o}", stdin=text)

    def eventually(self, condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
        """Wait for a condition; a machine may be very slow."""
        return eventually(condition, timeout_s)

    # ── systemd ─────────────────────────────────────────────────────────────────────────────────────────────────

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit, as `systemctl show` spells it."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def active(self, unit: str) -> str:
        """Return a unit's state: active, reloading, inactive, failed…"""
        return self.property(unit, "ActiveState")

    def main_pid(self, unit: str = "workd.service") -> int:
        """Return the pid, inside the machine, of a service's main process."""
        return int(self.property(unit, "MainPID"))

    def wait_until_up(self) -> None:
        """Wait until all that starts at boot has started, and nothing of it failed."""
        self.eventually(lambda: self.tried("systemctl", "is-system-running").out.strip() in {"running", "degraded"})
        failed = self.run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
        assert not failed.strip(), f"failed at boot: {failed}"

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the entries of the journal that match, such as `_SYSTEMD_UNIT=workd.service`."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--output=json", "--no-pager", "--all", *matches).splitlines()
        return [json.loads(line) for line in lines]

    def log(self, unit: str = "workd.service") -> str:
        """Return what a unit wrote into the journal, and what systemd wrote about it."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--all", "--unit", unit)
