"""A workd that is installed on a machine as its documentation says, and what a test asks of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.machines.base import Machine

WHEELS: Final = "/opt/wheels"  # where a machine sees the wheel house
RELEASE: Final = "/root/workd"  # and the release
URL: Final = "redis://localhost:6379/0"
CONFIG: Final = """\
redis_url = "redis://localhost:6379/0"
modules = ["shop"]
workers = 2
lease_s = 2
drain_s = 20
"""
WAIT_S: Final = 240.0

_HERE: Final = Path(__file__).parent
_PRODUCER: Final = "/opt/producer.py"
_PYTHON: Final = "/opt/workd/bin/python"


# pip finds everything in the wheel house: a machine has no network.
OFFLINE: Final = f"""
printf '[global]\\nno-index = true\\nfind-links = {WHEELS}\\ndisable-pip-version-check = true\\n' > /etc/pip.conf
"""
PACKAGES: Final = """
apt-get install --quiet --no-install-recommends redis-server python3-venv
sed --in-place 's/^appendonly no/appendonly yes/' /etc/redis/redis.conf
"""
INSTALL: Final = f"""
sh {RELEASE}/deploy/install.sh --wheel {RELEASE}/dist/workd-*.whl
"""
# The same where no systemd runs, as in the making of an image: $1 is the root file system, $2 the wheel house, $3 the
# release; in a mount namespace that ends with it.
INTO_AN_IMAGE: Final = f"""
root=$1 wheels=$2 release=$3
mkdir -p "$root{WHEELS}" "$root{RELEASE}"
mount --bind "$wheels" "$root{WHEELS}"
mount --bind "$release" "$root{RELEASE}"
chroot "$root" bash -euo pipefail <<'END'
{OFFLINE}
{PACKAGES}
{INSTALL}
END
umount "$root{WHEELS}" "$root{RELEASE}"
"""
TASKS: Final = "/opt/workd/tasks"


class Service:
    """One installed workd: its jobs, its unit, its settings."""

    def __init__(self, machine: Machine, unit: str = "workd.service", url: str = URL, queue: str = "default") -> None:
        self.machine = machine
        self.unit = unit
        self.url = url
        self.queue = queue

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, task: str, *arguments: Any) -> str:
        """Put one job on the queue; return its id."""
        return self.enqueue_many(task, [arguments])[0]

    def enqueue_many(self, task: str, each: list[tuple[Any, ...]]) -> list[str]:
        """Put a job per tuple of arguments on the queue; return their ids."""
        ids: list[str] = self._ask({"task": task, "each": each})
        return ids

    def outcomes(self, ids: list[str], timeout_s: float = WAIT_S) -> list[dict[str, Any]]:
        """Wait for how these jobs end."""
        outcomes: list[dict[str, Any]] = self._ask({"ids": ids, "timeout_s": timeout_s}, timeout_s + 60)
        return outcomes

    def outcome(self, job_id: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Wait for how one job ends."""
        return self.outcomes([job_id], timeout_s)[0]

    def values(self, ids: list[str]) -> list[Any]:
        """Wait for what these jobs return; all of them have to succeed."""
        outcomes = self.outcomes(ids)
        assert {outcome["status"] for outcome in outcomes} == {"succeeded"}, outcomes
        return [outcome["value"] for outcome in outcomes]

    def call(self, task: str, *arguments: Any) -> Any:
        """Run one job and return what it returned."""
        return self.values([self.enqueue(task, *arguments)])[0]

    def ran(self) -> list[str]:
        """Return what the tasks have written down, one line a run."""
        return self.machine.sh("cat /var/lib/workd/ran 2>/dev/null || true").splitlines()

    def forget(self) -> None:
        """Remove what earlier tests have left: in Redis, in the tasks' file, in the unit's drop-ins."""
        unit, state = self.unit, "/var/lib/workd"
        self.machine.sh(
            f"systemctl stop {unit}; redis-cli flushall >/dev/null; mkdir -p {state}; find {state} -mindepth 1 -delete;"
            f"rm -rf /etc/systemd/system/{unit}.d /run/systemd/system/{unit}.d /run/systemd/system.control/{unit}.d;"
            f"systemctl daemon-reload; systemctl reset-failed"
        )
        self.machine.write("/etc/workd/workd.toml", CONFIG)
        self.write_tasks()

    # ── the unit ────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the unit; systemctl comes back when it is ready."""
        self.machine.run("systemctl", "start", self.unit, timeout_s=WAIT_S)

    def stop(self) -> None:
        """Stop the unit; systemctl comes back when it has ended."""
        self.machine.run("systemctl", "stop", self.unit, timeout_s=WAIT_S)

    def property(self, name: str) -> str:
        """Return one property of the unit."""
        return self.machine.property(self.unit, name)

    def main_pid(self) -> int:
        """Return the daemon's pid inside the machine."""
        return self.machine.main_pid(self.unit)

    def drop_in(self, section: str, name: str = "test") -> None:
        """Add a drop-in of the administrator's."""
        self.machine.write(f"/etc/systemd/system/{self.unit}.d/{name}.conf", section)
        self.machine.run("systemctl", "daemon-reload")

    def write_tasks(self, changes: Mapping[str, str] | None = None) -> None:
        """Install the task module, with some texts in it replaced."""
        text = (_HERE / "tasks.py").read_text()
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        self.machine.write(f"{TASKS}/shop.py", text)
        self.machine.write(_PRODUCER, (_HERE / "producer.py").read_text())

    def _ask(self, question: dict[str, Any], timeout_s: float = WAIT_S) -> Any:
        asked = json.dumps({"url": self.url, "queue": self.queue} | question)
        return json.loads(self.machine.run(_PYTHON, _PRODUCER, stdin=asked, timeout_s=timeout_s))
