"""Whether this machine can boot another one, and if not, why: the reason that a skipped test shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

_CONTAINER: Final = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}
_VIRTUAL: Final = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "mkfs.ext4": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}


class CannotBootError(Exception):
    """This machine cannot boot another one; the text says why."""


def why_no_container() -> str | None:
    """Return why no container can be booted here, None if one can."""
    return _not_root() or _lacking(_CONTAINER) or _no_mounts()


def why_no_virtual_machine() -> str | None:
    """Return why no virtual machine can be booted here, None if one can."""
    if os.uname().machine != "x86_64":
        return f"the virtual machine is an x86_64, this is {os.uname().machine}"
    return _not_root() or _lacking(_VIRTUAL) or _no_mounts()


def _not_root() -> str | None:
    return None if os.geteuid() == 0 else "only root can make a root file system and boot it"


def _lacking(programs: dict[str, str]) -> str | None:
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    return f"install Debian's {' '.join(missing)} to boot a systemd" if missing else None


def _no_mounts() -> str | None:
    """Try what every boot begins with: root in a container need not be allowed to mount."""
    script = 'mount -t tmpfs tmpfs "$1"'
    tried = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"root may not mount here: {tried.stderr.strip()}"
