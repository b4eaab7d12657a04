"""What deploy/install.sh puts where, what it leaves alone, and what of it is left after --uninstall."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.machines.parts import cache, made_once
from support.machines.release import REPOSITORY, release, wheel_house

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTALL_S = 300
PYTHONS = (sys.executable, "/usr/bin/python3")
CONFIG = Path("etc/workd/workd.toml")

pytestmark = [
    pytest.mark.skipif(not (REPOSITORY / "daemon").exists(), reason="the tests run outside the repository"),
    pytest.mark.timeout(2 * INSTALL_S),
]


def python_of_the_wheels() -> str:
    """An interpreter that the downloaded wheels are for."""
    for python in PYTHONS:
        version = [python, "-c", "import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))"]
        if shutil.which(python) and subprocess.run(version, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("there is no Python 3.11 with venv here, which the downloaded wheels are for")


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-eu", str(script), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/", "SOURCE_DATE_EPOCH": "1700000000"} | environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )


class Place:
    """A directory that everything is installed under."""

    def __init__(self, folder: Path, clone: Path | None = None) -> None:
        self.root = folder
        clone = clone or release()
        self.script = clone / "deploy" / "install.sh"
        (self.wheel,) = (clone / "dist").glob("*.whl")

    def tried(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(
            self.script,
            *("--wheel", str(self.wheel), "--python", python_of_the_wheels(), *arguments),
            **{"DESTDIR": str(self.root), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel_house())} | environment,
        )

    def install(self, *arguments: str, **environment: str) -> str:
        done = self.tried(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def uninstall(self) -> None:
        done = run(self.script, "--uninstall", DESTDIR=str(self.root))
        assert done.returncode == 0, done.stderr

    def tree(self) -> Mapping[str, tuple[str, bytes | str]]:
        """All there is: by path its mode, and what is in it."""
        found: dict[str, tuple[str, bytes | str]] = {}
        for path in self.root.rglob("*"):
            mode = stat.filemode(path.lstat().st_mode)
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            found[str(path.relative_to(self.root))] = (mode, content)
        return found


@pytest.fixture(scope="module")
def installed() -> Place:
    """One installation for all tests that only look, whichever process they run in."""
    made_of = [release().name, wheel_house().name, python_of_the_wheels()]
    return Place(made_once("installed", made_of, install_into))


def install_into(folder: Path) -> None:
    Place(folder).install()


@pytest.fixture
def place(installed: Place, tmp_path: Path) -> Place:
    """A copy, to change."""
    shutil.copytree(installed.root, tmp_path / "root", symlinks=True)
    return Place(tmp_path / "root")


def test_it_is_all_there(installed: Place) -> None:
    local = installed.root / "usr" / "local"
    units = {path.name for path in (local / "lib" / "systemd" / "system").iterdir()}
    assert {"workd.service", "workd@.service", "workd.target"} < units
    assert {"workd-health.socket", "workd-health@.socket"} < units
    for path in ("lib/sysusers.d/workd.conf", "lib/tmpfiles.d/workd.conf", "share/workd/notify-reload.conf"):
        assert (local / path).is_file()
    assert (local / "share/man/man1/workd.1").is_file()
    assert (local / "share/man/man5/workd.toml.5").is_file()
    assert "_WORKD_COMPLETE" in (local / "share/bash-completion/completions/workd").read_text()
    assert "workd" in (local / "share/zsh/site-functions/_workd").read_text()
    assert "workd" in (local / "share/fish/vendor_completions.d/workd.fish").read_text()
    assert str((local / "bin/workd").readlink()) == "/opt/workd/bin/workd"
    assert (installed.root / "opt/workd/tasks").is_dir()


def test_everybody_can_read_it_and_nobody_else_can_write_it(installed: Place) -> None:
    for path in installed.root.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & (stat.S_IWGRP | stat.S_IWOTH) == 0, path
            assert mode & stat.S_IROTH, path


def test_nothing_names_the_place_that_it_was_made_in(installed: Place) -> None:
    named = [
        str(path)
        for path in installed.root.rglob("*")
        if path.is_file() and not path.is_symlink() and str(cache()).encode() in path.read_bytes()
    ]
    assert named == []


def test_the_settings_file_is_the_one_that_the_program_writes_and_changes_nothing(installed: Place) -> None:
    template = subprocess.check_output([sys.executable, "-m", "workd", "config", "--template"], text=True)
    assert (installed.root / CONFIG).read_text() == template
    assert tomllib.loads(template) == {}


def test_a_second_time_gives_the_same_tree_and_settings_that_nobody_changed_follow_the_version(place: Place) -> None:
    before = place.tree()
    for path in (CONFIG, Path("usr/local/share/workd/workd.toml")):
        (place.root / path).write_text("# of the version before\n")
    assert "was changed" not in place.install()
    after = place.tree()
    assert sorted(before) == sorted(after)
    assert [path for path in before if before[path] != after[path]] == []


def test_an_upgrade_leaves_what_is_not_ours_and_removes_what_it_no_longer_has(place: Place) -> None:
    settings, template = place.root / CONFIG, place.root / "usr/local/share/workd/workd.toml"
    settings.write_text("workers = 3\n")
    template.write_text("# of the version before\n")
    module = place.root / "opt/workd/tasks/mine.py"
    module.write_text("x = 1\n")
    other = place.root / "usr/local/bin/other"
    other.touch()
    old = place.root / "usr/local/lib/systemd/system/workd-old.timer"
    old.touch()
    with (place.root / "opt/workd/.installed").open("a") as manifest:
        manifest.write("/usr/local/lib/systemd/system/workd-old.timer\n")
    assert "was changed and stays" in place.install()
    assert settings.read_text() == "workers = 3\n"
    assert "lease_s" in template.read_text()
    assert not old.exists()
    place.uninstall()
    assert module.read_text() == "x = 1\n"
    assert other.exists()
    assert settings.read_text() == "workers = 3\n"


def test_an_upgrade_that_fails_leaves_what_there_was(place: Place, tmp_path: Path) -> None:
    before = place.tree()
    broken = tmp_path / place.wheel.name
    broken.write_bytes(b"no wheel")
    done = run(
        place.script,
        *("--wheel", str(broken), "--python", python_of_the_wheels()),
        DESTDIR=str(place.root),
        PIP_NO_INDEX="1",
    )
    assert done.returncode != 0
    shutil.rmtree(place.root / "opt/workd/.new", ignore_errors=True)
    assert place.tree() == before


def test_after_uninstall_nothing_is_left_but_the_settings(place: Place) -> None:
    place.uninstall()
    assert [str(path.relative_to(place.root)) for path in place.root.rglob("*") if path.is_file()] == [str(CONFIG)]
    assert sorted(path.name for path in place.root.iterdir()) == ["etc"]


def test_another_prefix_is_in_the_units_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.install("--prefix", "/srv/workd", "--system-prefix", "/usr")
    units = place.root / "usr/lib/systemd/system"
    for name in ("workd.service", "workd@.service"):
        text = (units / name).read_text()
        assert "ExecStart=/srv/workd/bin/workd run" in text
        assert "/opt/workd" not in text
    assert (place.root / "srv/workd/bin/workd").read_text().startswith("#!/srv/workd/bin/python")


def test_names_with_blanks_and_brackets_are_names_like_others(tmp_path: Path) -> None:
    clone = tmp_path / "a clone [1]"
    shutil.copytree(release(), clone)
    place = Place(tmp_path / "the root [2]", clone)
    place.root.mkdir()
    place.install(CDPATH="/", PYTHONPATH=sysconfig.get_path("purelib"), PIP_USER="1")
    command = place.root / "opt/workd/bin/workd"
    assert "/opt/workd/bin/python" in command.read_text()
    assert str(tmp_path) not in command.read_text()
    [site] = (place.root / "opt/workd/lib").glob("python*/site-packages")
    assert (site / "redis").is_dir()  # although PYTHONPATH has one
    assert place.tree().keys() >= {"usr/local/lib/systemd/system/workd.service", str(CONFIG)}


class KilledAt(Place):
    """An installation that somebody kills when it comes to run `program` with a word that ends so."""

    def __init__(self, folder: Path, program: str, ending: str) -> None:
        super().__init__(folder)
        self.shims = folder.with_name(f"{folder.name}-shims")
        self.shims.mkdir()
        real = shutil.which(program)
        kill = f"for word; do case $word in *{ending}) kill -KILL $PPID; exit 1 ;; esac; done"
        (self.shims / program).write_text(f'#!/bin/sh\n{kill}\nexec {real} "$@"\n')
        (self.shims / program).chmod(0o755)

    def install(self, *arguments: str, **environment: str) -> str:
        done = self.tried(*arguments, PATH=f"{self.shims}:{os.environ['PATH']}", **environment)
        assert done.returncode == -signal.SIGKILL, done.stderr
        return done.stdout


def test_an_upgrade_that_was_killed_while_it_changed_places_is_made_good_by_the_next(place: Place) -> None:
    before = place.tree()
    KilledAt(place.root, "mv", "/.new/lib").install()
    assert not (place.root / "opt/workd/lib").exists()
    place.install()
    assert place.tree() == before


def test_what_a_killed_installation_has_put_somewhere_is_uninstalled(tmp_path: Path) -> None:
    place = KilledAt(tmp_path / "root", "mv", "/man1/workd.1")
    place.root.mkdir()
    place.install()
    assert "usr/local/lib/systemd/system/workd.service" in place.tree()
    assert "usr/local/share/man/man1/workd.1.new~" in place.tree()
    place.uninstall()
    assert place.tree() == {}


@pytest.mark.parametrize("part", ["bin", "lib"])
def test_a_prefix_where_others_live_is_refused(tmp_path: Path, part: str) -> None:
    theirs = tmp_path / "usr/local" / part / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    done = run(REPOSITORY / "deploy/install.sh", "--prefix", "/usr/local", DESTDIR=str(tmp_path))
    assert done.returncode == 1
    assert "--prefix has to name a directory of workd's own" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prefix", "opt"], "no absolute path"),
        (["--prefix", "/"], "no place for it"),
        (["--prefix", "/a|b"], "no place for it"),
        (["--prefix"], "needs a value"),
        (["--whell", "x"], "there is no option --whell"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(REPOSITORY / "deploy/install.sh", *arguments, DESTDIR=str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run(REPOSITORY / "deploy/install.sh", "--wheel", "/no/such.whl", DESTDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "install.sh: there is no wheel /no/such.whl\n")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [REPOSITORY / "deploy/install.sh", *(REPOSITORY / "deploy/debian").glob("*.sh")]
    scripts += [REPOSITORY / "deploy/debian" / name for name in ("preinst", "postinst", "prerm", "postrm")]
    done = subprocess.run(["shellcheck", *map(str, scripts)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
