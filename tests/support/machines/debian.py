"""A minimal Debian with systemd, and a kernel for it, from Debian's packages.

The root file system is what an administrator gets from a fresh installation, but for the packages that the tests need
later: those are in apt's own cache, so that `apt-get install` works in a machine that has no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from support.machines.able import CannotBootError
from support.machines.parts import made_once

if TYPE_CHECKING:
    from pathlib import Path

SUITE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
INSTALLED: Final = ("systemd", "systemd-sysv", "dbus", "python3", "procps", "ca-certificates")
AT_HAND: Final = ("redis-server", "python3-venv", "adduser", "curl", "jq")  # can be installed without a network
KERNEL: Final = "linux-image-cloud-amd64"

_MAKE_TIMEOUT_S: Final = 900.0
# What a machine of its own has in its image and a container gets from its host.
_SETTLE: Final = r"""
set -e
rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id"
: > "$1/etc/machine-id"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$1/etc/hosts"
printf 'APT::Get::Assume-Yes "true";\nAcquire::Retries "0";\n' > "$1/etc/apt/apt.conf.d/99test"
"""


def root_folder() -> Path:
    """Return the root file system. Nobody writes into it: each boot works on an overlay, or a copy."""
    return made_once("root", [SUITE, mirror(), *INSTALLED, "/", *AT_HAND, _SETTLE], _make_root)


def kernel_image() -> Path:
    """Return the kernel of Debian's cloud images: it has ext4, NVMe and the serial line built in."""
    return next((made_once("kernel", [SUITE, mirror(), KERNEL], _make_kernel) / "boot").glob("vmlinuz-*"))


def mirror() -> str:
    """Return where Debian's packages come from; WORKD_DEBIAN_MIRROR names another place."""
    return os.environ.get("WORKD_DEBIAN_MIRROR", MIRROR)


def _make_root(folder: Path) -> None:
    fetch = f'chroot "$1" apt-get install --yes --quiet --no-install-recommends --download-only {" ".join(AT_HAND)}'
    _run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--quiet",
            "--skip=cleanup/apt",  # keeps the lists and the packages at hand
            f"--include={','.join(INSTALLED)}",
            f"--customize-hook={fetch}",
            f"--customize-hook={_SETTLE}",
            SUITE,
            str(folder),
            mirror(),
        ]
    )


def _make_kernel(folder: Path) -> None:
    """Unpack the kernel: it is not for this machine, so it is not installed; apt's lists are the root file system's."""
    downloads = folder / "downloads"
    downloads.mkdir()
    lists = {
        "Dir": str(root_folder()),
        "Dir::Cache": f"{downloads}/",
        "Dir::Bin::dpkg": "/usr/bin/dpkg",
        "Dir::Bin::methods": "/usr/lib/apt/methods",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in lists.items() for word in ("-o", f"{name}={value}")]
    needed = _run(["apt-cache", *options, "depends", "--important", KERNEL])
    [name] = [line.split()[-1] for line in needed.splitlines() if "Depends: linux-image-" in line]
    _run(["apt-get", *options, "download", name], cwd=downloads)
    [package] = downloads.glob("*.deb")
    _run(["dpkg-deb", "--extract", str(package), str(folder)])
    shutil.rmtree(downloads)
    shutil.rmtree(folder / "lib")  # modules, of which none is needed


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MAKE_TIMEOUT_S,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        raise CannotBootError(f"{command[0]} could not fetch from {mirror()}: {' | '.join(_last_lines(done.stderr))}")
    return done.stdout


def _last_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][-3:]
