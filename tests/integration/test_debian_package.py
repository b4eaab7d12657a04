"""What is in the Debian package; that it installs, upgrades and goes is shown on a booted system, in tests/system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.machines.parts import made_once
from support.machines.release import REPOSITORY, release, wheel_house

BUILD_S = 300
PYTHON = "/usr/bin/python3"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def has_debian_python() -> bool:
    version = [PYTHON, "-c", "import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))"]
    return Path(PYTHON).exists() and subprocess.run(version, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.skipif(not (REPOSITORY / "daemon").exists(), reason="the tests run outside the repository"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is no Debian: there is no dpkg-deb"),
    pytest.mark.skipif(not has_debian_python(), reason=f"{PYTHON} with venv is not 3.11, which the wheels are for"),
    pytest.mark.timeout(2 * BUILD_S),
]


@pytest.fixture(scope="module")
def package() -> Path:
    """The package, built with `make deb`'s script from a wheel: once for all processes that test."""
    (package,) = made_once("package", [release().name, wheel_house().name], build).glob("*.deb")
    return package


def build(folder: Path) -> None:
    (wheel,) = (release() / "dist").glob("*.whl")
    shutil.copy(wheel, folder)
    done = subprocess.run(
        [str(REPOSITORY / "deploy/debian/build.sh"), str(folder / wheel.name)],
        env={"PATH": os.environ["PATH"], "HOME": "/", "SOURCE_DATE_EPOCH": "1700000000"}
        | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel_house()), "DEB_REVISION": "7"}
        | {"DEBFULLNAME": "A Person", "DEBEMAIL": "person@example.org"},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).parent == folder


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(folder / "root")], check=True)
    return folder / "root"


@pytest.fixture(scope="module")
def contents(package: Path) -> list[str]:
    """One line for each path: mode, owner, size, day, time, path."""
    return subprocess.check_output(["dpkg-deb", "--contents", str(package)], text=True).splitlines()


def field(package: Path, name: str) -> str:
    return subprocess.check_output(["dpkg-deb", "--field", str(package), name], text=True).strip()


def test_its_control_fields_say_what_it_needs(package: Path) -> None:
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    version = re.search(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert package.name == f"workd_{version[1]}-7_{architecture}.deb"
    assert field(package, "Version") == f"{version[1]}-7"
    assert field(package, "Maintainer") == "A Person <person@example.org>"
    depends = field(package, "Depends")
    # The libraries are for this Python and no other.
    assert {"python3 (>= 3.11)", "python3 (<< 3.12~)"} < set(depends.split(", "))
    assert re.search(r"libc6 \(>= 2\.\d+\)", depends)
    assert int(field(package, "Installed-Size")) > 1_000


def test_everything_is_at_its_place(contents: list[str]) -> None:
    paths = {line.split(maxsplit=5)[5].partition(" -> ")[0] for line in contents}
    assert {
        "./opt/workd/bin/workd",
        "./opt/workd/tasks/",
        "./usr/bin/workd",
        "./usr/lib/systemd/system/workd.service",
        "./usr/lib/systemd/system/workd@.service",
        "./usr/lib/systemd/system/workd.target",
        "./usr/lib/systemd/system/workd-health.socket",
        "./usr/lib/sysusers.d/workd.conf",
        "./usr/lib/tmpfiles.d/workd.conf",
        "./usr/share/man/man1/workd.1.gz",
        "./usr/share/man/man5/workd.toml.5.gz",
        "./usr/share/bash-completion/completions/workd",
        "./usr/share/zsh/vendor-completions/_workd",
        "./usr/share/fish/vendor_completions.d/workd.fish",
        "./usr/share/workd/workd.toml",
        "./usr/share/workd/notify-reload.conf",
        "./usr/share/doc/workd/copyright",
        "./usr/share/doc/workd/changelog.Debian.gz",
    } <= paths
    elsewhere = {path.split("/")[1] for path in paths} - {"", "opt", "usr"}
    assert elsewhere == set()  # settings are made at the installation, and are not dpkg's to ask about
    assert "./opt/workd/.installed" not in paths  # which says that the script has installed it


def test_everything_is_roots(contents: list[str]) -> None:
    assert {line.split()[1] for line in contents} == {"root/root"}
    assert [line for line in contents if line[0] != "l" and (line[5] == "w" or line[8] == "w")] == []


def test_the_scripts_can_be_run_and_the_sums_are_those_of_the_files(unpacked: Path) -> None:
    for script in SCRIPTS:
        assert os.access(unpacked / "DEBIAN" / script, os.X_OK)
    subprocess.run(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=unpacked, check=True)


def test_the_program_runs_with_debians_python(unpacked: Path) -> None:
    assert (unpacked / "opt/workd/bin/workd").read_text().startswith("#!/opt/workd/bin/python")
    assert str((unpacked / "opt/workd/bin/python3").readlink()) == PYTHON


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_finds_no_error(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--tag-display-limit", "0", "--fail-on", "error", str(package)],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
