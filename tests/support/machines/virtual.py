"""A virtual machine under qemu's software emulation: a kernel of its own, so cgroup v2 whatever the host has.

Debian's cloud kernel has ext4, NVMe and serial lines built in: no modules and no initramfs. Commands go over the second
serial line to `agent.py`. There is no network but the loopback. Emulation is some ten times slower than the host.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self

from support.machines.base import ENVIRONMENT, Completed, Machine
from support.waiting import eventually

BOOT_TIMEOUT_S: Final = 300.0
MEMORY_MIB: Final = 1536
_DISK_BYTES: Final = 3 * 1024**3
_STOP_TIMEOUT_S: Final = 90.0
_UNIT: Final = """
[Unit]
Description=Runs what the tests ask for
[Service]
ExecStart=/usr/bin/python3 /opt/agent.py /dev/ttyS1
"""
# No udev: nobody would say that the console's device is there, and its getty would be waited for.
_PREPARE: Final = r"""
set -eu
root=$1
cp "$2" "$root/opt/agent.py"
printf '%s' "$3" > "$root/etc/systemd/system/agent.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../agent.service "$root/etc/systemd/system/multi-user.target.wants/agent.service"
ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
echo web2 > "$root/etc/hostname"
"""
# $1: root file system, $2: scratch, $3: script that changes it ($1 is its root), $4: the disk to make; a private mount
# namespace: nothing stays mounted.
_MAKE_DISK: Final = r"""
set -eu
lower=$1 place=$2 change=$3 disk=$4
shift 4
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" "$place/root"
mount -t proc proc "$place/root/proc"
mount --rbind /dev "$place/root/dev"
bash -euc "$change" bash "$place/root" "$@"
umount --lazy "$place/root/dev" "$place/root/proc"
mkfs.ext4 -q -F -O ^has_journal -d "$place/root" "$disk"
"""


class VirtualMachine(Machine):
    """One virtual machine with a disk of its own. Use as a context manager."""

    def __init__(self, kernel: Path, disk: Path) -> None:
        """Take a kernel and a disk that `make_disk` made; the disk is used up."""
        self._kernel = kernel
        self._disk = disk
        self._folder = Path(tempfile.mkdtemp(prefix="workd-vm-"))  # short: it holds a socket
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._waiting = b""

    def start(self) -> Self:
        """Boot it, and wait until all is up."""
        with (self._folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._line = eventually(self._connect, BOOT_TIMEOUT_S)
        assert self._answer(BOOT_TIMEOUT_S) == {"hello": True}
        self._disk.unlink()  # qemu has it open: it is gone with that, however the tests end
        self.wait_until_up()
        return self

    def execute(self, argv: list[str], *, stdin: str, timeout_s: float) -> Completed:
        """Ask the agent to run a command."""
        assert self._line is not None, "the virtual machine is not running"
        question = {"argv": argv, "env": ENVIRONMENT, "stdin": stdin, "timeout_s": timeout_s}
        self._line.settimeout(timeout_s)
        self._line.sendall(json.dumps(question).encode() + b"\n")
        return Completed(**self._answer(timeout_s + 30))

    def stop(self) -> None:
        """Shut it down, and if that takes too long, cut its power."""
        if self._process is None:
            return
        if self._line is not None:
            with contextlib.suppress(OSError, AssertionError):
                self.tried("systemctl", "poweroff", "--no-block")
        try:
            self._process.wait(_STOP_TIMEOUT_S if self._line else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None
        shutil.rmtree(self._folder)

    def console(self) -> str:
        """Return what the kernel and systemd have written to the console."""
        texts = [
            (self._folder / name).read_text(errors="replace") for name in ("qemu.log", "console") if self._has(name)
        ]
        return "\n".join(texts)[-4000:]

    def _command(self) -> list[str]:
        return [
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", str(self._kernel), "-append", "root=/dev/nvme0n1 rw console=ttyS0 mitigations=off panic=-1"),
            *("-drive", f"file={self._disk},format=raw,if=none,id=disk,cache=unsafe"),
            *("-device", "nvme,drive=disk,serial=disk"),
            *("-serial", f"file:{self._folder / 'console'}"),
            *("-chardev", f"socket,id=agent,path={self._folder / 'agent'},server=on,wait=off"),
            *("-serial", "chardev:agent"),
        ]

    def _connect(self) -> socket.socket | None:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(self._folder / "agent"))
        except OSError:
            line.close()
            self._alive()
            return None
        return line

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        """Wait for one line of the agent's."""
        assert self._line is not None
        self._line.settimeout(timeout_s)
        while b"\n" not in self._waiting:
            try:
                chunk = self._line.recv(65536)
            except TimeoutError:
                raise AssertionError(f"no answer within {timeout_s} s:\n{self.console()}") from None
            assert chunk, f"the virtual machine ended:\n{self.console()}"
            self._waiting += chunk
        line, _, self._waiting = self._waiting.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _alive(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, f"qemu ended:\n{self.console()}"

    def _has(self, name: str) -> bool:
        return (self._folder / name).exists()


def make_disk(root: Path, disk: Path, change: str, *arguments: str) -> None:
    """Make an ext4 disk of a root file system that a script changes first: $1 is its root, then the arguments."""
    with disk.open("wb") as file:
        file.truncate(_DISK_BYTES)
    with tempfile.TemporaryDirectory(prefix="workd-disk-") as place:
        agent = Path(__file__).with_name("agent.py")
        prepare = f'bash -euc {shlex.quote(_PREPARE)} bash "$1" {agent} {shlex.quote(_UNIT)}\n'
        command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _MAKE_DISK, "bash"]
        done = subprocess.run(
            [*command, str(root), place, prepare + change, str(disk), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"no disk was made: {done.stdout}"
