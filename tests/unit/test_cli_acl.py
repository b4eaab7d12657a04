"""`workd acl`: what it prints, and how it keeps passwords."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.waiting import eventually
from workd.broker import rights
from workd.cli import app
from workd.exits import Exit

CHECKED_IN = Path(__file__).parents[2] / "deploy" / "redis" / "workd.acl"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert app.call(["acl", *words]) == Exit.OK
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.call(["acl", *words]) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_the_file_in_deploy_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == CHECKED_IN.read_text(encoding="utf-8").splitlines(), "workd acl > deploy/redis/workd.acl"


def test_it_has_a_user_for_each_role_and_none_of_them_can_sign_in(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert [line.split()[:3] for line in lines] == [["user", f"workd-{role}", "on"] for role in rights.COMMANDS]
    assert not any(word.startswith(("#", ">", "nopass")) for line in lines for word in line.split())


def test_roles_queues_names_and_the_version_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = printed(
        capsys, "--role", "producer", "-q", "images", "-q", "mail", "--prefix", "shop.", "--server-version", "7.2"
    )
    rules = rights.rules("producer", queues=("images", "mail"))
    assert line == " ".join(("user", "shop.producer", "on", *rules))
    assert "+waitaof" in line


def test_commands_leave_a_password_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "--format", "commands")
    assert all(line.startswith("ACL SETUSER workd-") for line in lines)
    assert not any("resetpass" in line for line in lines)


@pytest.mark.parametrize("words", [("--json",), ("--format", "json")])
def test_json_has_each_rule_as_a_word(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads("\n".join(printed(capsys, "--role", "pusher", *words)))
    assert found == [{"user": "workd-pusher", "role": "pusher", "rules": ["on", *rights.rules("pusher", newer=False)]}]


def test_an_admin_takes_the_place_of_whoever_needs_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, admin, default = printed(capsys, "--role", "viewer", "--admin", "--passwords", str(tmp_path / "passwords"))
    password = dict(line.split() for line in (tmp_path / "passwords").read_text().splitlines())["admin"]
    assert admin == f"user admin on resetpass #{hashlib.sha256(password.encode()).hexdigest()} ~* &* +@all"
    assert default == "user default off resetpass ~* &* +@all"


def test_passwords_are_made_once_and_only_their_hashes_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "passwords"
    words = ("acl", "--passwords", str(path))
    assert app.call([*words, "--role", "daemon"]) == Exit.OK
    first = capsys.readouterr()
    assert path.stat().st_mode & 0o777 == 0o600
    [(user, password)] = [line.split() for line in path.read_text().splitlines()]
    assert user == "workd-daemon"
    assert len(password) >= 32
    assert hashlib.sha256(password.encode()).hexdigest() in first.out
    assert app.call([*words, "--role", "daemon", "--role", "viewer"]) == Exit.OK
    second = capsys.readouterr()
    assert second.out.splitlines()[0] == first.out.splitlines()[0]
    passwords = dict(line.split() for line in path.read_text().splitlines())
    assert list(passwords) == ["workd-daemon", "workd-viewer"]
    assert len(set(passwords.values())) == 2
    for said in (first, second):
        assert not any(secret in said.out + said.err for secret in passwords.values())
    assert "made passwords in" in second.err
    assert "workd-viewer" in second.err
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_others_may_read_is_no_place_for_passwords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "passwords"
    path.write_text("workd-daemon open-sesame\n")
    path.chmod(0o640)
    said = refused(capsys, "--passwords", str(path))
    assert "chmod 600" in said
    assert "open-sesame" not in said


def test_a_line_that_is_none_is_named_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords"
    path.write_text("workd-daemon open sesame\n")
    path.chmod(0o600)
    said = refused(capsys, "--passwords", str(path))
    assert "line 1" in said
    assert "sesame" not in said


def test_a_long_file_of_passwords_loses_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords"
    there = [f"user-{number} {'x' * 40}" for number in range(3000)]  # some 150 KB
    path.write_text("\n".join(there))
    path.chmod(0o600)
    printed(capsys, "--role", "viewer", "--passwords", str(path))
    assert path.read_text().splitlines()[:-1] == there
    path.write_text("x " * 1024 * 1024)
    assert "too long" in refused(capsys, "--passwords", str(path))


def test_two_who_make_passwords_at_the_same_time_print_the_same(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "workd", "acl", "--role", "viewer", "--passwords", str(tmp_path / "passwords")]
    with ExitStack() as both:
        folder = os.open(tmp_path, os.O_RDONLY)
        both.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        two = [both.enter_context(subprocess.Popen(line, stdout=subprocess.PIPE, env=environ)) for _ in range(2)]
        eventually(lambda: len(_waiting_for_locks() & {one.pid for one in two}) == 2, timeout_s=60)
        assert list(tmp_path.iterdir()) == []
        fcntl.flock(folder, fcntl.LOCK_UN)
        said = {one.communicate(timeout=60)[0] for one in two}
    assert [one.returncode for one in two] == [0, 0]
    assert len(said) == 1


def _waiting_for_locks() -> set[int]:
    """The processes that wait for a lock of a file."""
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {int(row[5]) for row in rows if row[1] == "->"}


def test_a_link_to_the_file_of_passwords_stays_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, link = tmp_path / "passwords", tmp_path / "link"
    link.symlink_to(path)
    printed(capsys, "--role", "viewer", "--passwords", str(link))
    assert link.is_symlink()
    assert path.read_text().startswith("workd-viewer ")


def test_where_nothing_can_be_written_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be written" in refused(capsys, "--passwords", str(tmp_path / "absent" / "passwords"))


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (("--role", "king"), "--role"),
        (("--queue", "a}b"), "--queue"),
        (("--queue", "a*"), "--queue"),
        (("--prefix", "a b"), "--prefix"),
        (("--prefix", "~*"), "--prefix"),
        (("--format", "xml"), "--format"),
    ],
)
def test_what_would_be_another_rule_is_refused(
    words: tuple[str, ...], about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert about in refused(capsys, *words)
