"""A container with a booted systemd: systemd-nspawn on an overlay of the root file system.

All mounts and processes are in namespaces of the container's own: they are gone with the process that we start, and the
kernel ends that with us (pdeathsig), however the tests end. What is written is in memory, and outlasts a reboot,
not the container. The network is private: a loopback and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from support.machines import cgroups
from support.machines.base import ENVIRONMENT, PATH, TIMED_OUT, TIMEOUT_S, Completed, Machine
from support.processes import children, exists, is_alive
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STOP_TIMEOUT_S: Final = 90.0
_UNSHARE: Final = (
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
# $1: the root file system, $2: an empty folder, $3: cgroups to enter; the rest: nspawn's options. A reboot is exit
# code 133 (--keep-unit).
_SCRIPT: Final = r"""
set -eu
lower=$1 place=$2 cgroups=$3
shift 3
for cgroup in $cgroups; do echo 0 > "$cgroup/cgroup.procs"; done
mount -t tmpfs -o size=75% tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" "$place/root"
while :; do
    code=0
    systemd-nspawn --quiet --directory="$place/root" --boot --register=no --keep-unit \
        --private-network --console=pipe --resolv-conf=off --timezone=off "$@" || code=$?
    [ "$code" = 133 ] || exit "$code"
done
"""


class Container(Machine):
    """One container. Use as a context manager; `folders` are the host's folders that it sees, by the path inside."""

    def __init__(self, root: Path, folders: Mapping[str, Path] | None = None, hostname: str = "web1") -> None:
        self._root = root
        self._options = [f"--hostname={hostname}"]
        self._options += [f"--bind-ro={outside}:{inside}" for inside, outside in (folders or {}).items()]
        self._place = Path(tempfile.mkdtemp(prefix="workd-container-"))
        self._console = self._place.with_suffix(".log")
        self._cgroups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def start(self) -> Self:
        """Boot it, and wait until all is up."""
        self._cgroups = cgroups.make(self._place.name)
        entered = " ".join(map(str, self._cgroups))
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--", *_UNSHARE),
                    *("bash", "-c", _SCRIPT, "bash", str(self._root), str(self._place), entered, *self._options),
                ],
                env={"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leader = self._booted()
        self.wait_until_up()
        return self

    def reboot(self) -> None:
        """Reboot as an administrator would; what was written is still there."""
        before = self._leader
        self.run("systemctl", "reboot")
        eventually(lambda: not exists(before), TIMEOUT_S)
        self._leader = self._booted()
        self.wait_until_up()

    def execute(self, argv: list[str], *, stdin: str, timeout_s: float) -> Completed:
        """Run a command in all of the container's namespaces."""
        environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        command = ["nsenter", "--target", str(self._leader), "--all", "env", "-i", *environment, *argv]
        try:
            done = subprocess.run(command, input=stdin.encode(), capture_output=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            return Completed(TIMED_OUT, _text(error.stdout), f"{_text(error.stderr)}\nnot done within {timeout_s} s")
        return Completed(done.returncode, _text(done.stdout), _text(done.stderr))

    def path(self, inside: str) -> Path:
        """Return where a path of the container is seen from here, a socket's for example."""
        return Path(f"/proc/{self._leader}/root") / inside.removeprefix("/")

    def stop(self) -> None:
        """Shut it down as `poweroff` does, and if that takes too long, cut its power."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._leader and is_alive(self._leader):
                os.kill(self._leader, signal.SIGRTMIN + 3)
        try:
            self._process.wait(_STOP_TIMEOUT_S if self._leader else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        cgroups.remove(self._cgroups)
        self._console.unlink()
        self._place.rmdir()

    def _booted(self) -> int:
        """Wait for the container's init and return its pid out here."""
        found = eventually(self._find_init, TIMEOUT_S)
        assert found is not None
        return found

    def _find_init(self) -> int | None:
        """Look for the process that is process 1 of a namespace of its own, and is an init by now."""
        assert self._process is not None
        assert self._process.poll() is None, f"the container ended:\n{self._console.read_text(errors='replace')}"
        for pid in _descendants(self._process.pid):
            if _name(pid) == "systemd" and _pid_inside(pid) == 1:
                return pid
        return None


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from _descendants(child)


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _pid_inside(pid: int) -> int | None:
    """Return a process' pid in the innermost of its namespaces."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return None
