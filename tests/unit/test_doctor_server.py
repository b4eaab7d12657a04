"""What the doctor says of a server, by what the server says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from workd.broker import checks, rights
from workd.doctor import rights as rights_check
from workd.doctor import server
from workd.doctor.findings import Finding, Level
from workd.errors import ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = {
    "redis_version": "7.2.4",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": str(1 << 30),
    "used_memory": str(1 << 20),
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "connected_clients": "3",
}
CONFIG = {"save": "", "timeout": "0", "maxclients": "10000", "appendfsync": "everysec", "min-replicas-to-write": "0"}


def said(info: dict[str, str] | None = None, config: dict[str, str] | None = None) -> server.Said:
    """Read what a server would have answered; what is not given is as it should be."""
    text = "".join(f"{name}:{value}\r\n" for name, value in (GOOD | (info or {})).items()).encode()
    pairs = [word.encode() for pair in (CONFIG | (config or {})).items() for word in pair]
    return server.Said(checks.lines(text), checks.pairs(pairs), checks.read(text, pairs))


def levels(found: list[Finding]) -> set[Level]:
    return {one.level for one in found}


def test_a_server_as_it_should_be_has_nothing_but_ok() -> None:
    fine = said()
    found = [
        server.version(fine), *server.keeps_jobs(fine), *server.writes(fine), *server.memory(fine),
        *server.connections(fine),
    ]  # fmt: skip
    assert len(found) == 5
    assert levels(found) == {Level.OK}


@pytest.mark.parametrize(
    ("check", "facts", "level", "word"),
    [
        (server.version, {"redis_version": "6.2.1"}, Level.PROBLEM, "6.2.1 is too old"),
        (server.version, {"redis_version": ""}, Level.NOTE, "does not tell"),
        (server.keeps_jobs, {"maxmemory_policy": "allkeys-lru"}, Level.PROBLEM, "maxmemory-policy is allkeys-lru"),
        (server.keeps_jobs, {"maxmemory_policy": "volatile-lru"}, Level.WARNING, "maxmemory-policy is volatile-lru"),
        (server.keeps_jobs, {"aof_enabled": "0"}, Level.WARNING, "writes nothing to disk"),
        (server.writes, {"role": "slave"}, Level.PROBLEM, "it is a replica"),
        (server.writes, {"loading": "1"}, Level.WARNING, "still loading"),
        (server.writes, {"rdb_last_bgsave_status": "err"}, Level.PROBLEM, "last snapshot failed"),
        (server.writes, {"aof_last_write_status": "err"}, Level.PROBLEM, "append-only file failed"),
        (server.memory, {"maxmemory": "0"}, Level.NOTE, "without a limit"),
        (server.memory, {"used_memory": str(1 << 30)}, Level.WARNING, "1,024 MiB of 1,024 MiB"),
        (server.connections, {"connected_clients": "9900"}, Level.WARNING, "9900 of 10000"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    check: Callable[[server.Said], Any], facts: dict[str, str], level: Level, word: str
) -> None:
    found = check(said(facts))
    one = found if isinstance(found, Finding) else next(one for one in found if one.level is not Level.OK)
    assert (one.level, bool(one.todo)) == (level, True)
    assert word in one.said


def test_settings_that_only_config_tells() -> None:
    assert levels(server.connections(said(config={"timeout": "300"}))) == {Level.WARNING}
    assert levels(server.keeps_jobs(said(config={"appendfsync": "no"}))) == {Level.WARNING}


# ── how it answers


def ticking(*, each_s: float) -> Callable[[], float]:
    """A clock on which every look takes so long."""
    now_s = iter(range(1000))
    return lambda: next(now_s) * each_s


@pytest.mark.parametrize(("each_s", "level"), [(0.0002, Level.OK), (0.02, Level.NOTE), (0.3, Level.WARNING)])
def test_a_slow_answer_is_noticed(each_s: float, level: Level) -> None:
    found = server.reachable(lambda *_: b"PONG", "redis://me:hunter2@h/0", ticking(each_s=each_s))
    assert found.level is level
    assert "hunter2" not in found.said


@pytest.mark.parametrize(("why", "todo"), [("NOAUTH Authentication required", "password"), ("refused", "start it")])
def test_a_server_that_does_not_answer_is_a_problem(why: str, todo: str) -> None:
    def ask(*_: object) -> None:
        raise ServerUnavailableError(why)

    found = server.reachable(ask, "redis://h/0")
    assert found.level is Level.PROBLEM
    assert todo in found.todo
    assert server.question(ask).refused
    assert levels(server.refused(server.question(ask))) == {Level.NOTE}
    assert server.clock_skew(ask).level is Level.NOTE
    assert levels(rights_check.examine(ask)) == {Level.NOTE}


@pytest.mark.parametrize(("ahead_s", "level"), [(0.0, Level.OK), (5.0, Level.WARNING), (-5.0, Level.WARNING)])
def test_clocks_that_differ_are_noticed(ahead_s: float, level: Level) -> None:
    found = server.clock_skew(lambda *_: [str(int(1000 + ahead_s)).encode(), b"0"], lambda: 1000.0)
    assert found.level is level
    if ahead_s:
        assert ("ahead of" if ahead_s > 0 else "behind") in found.said


# ── rights


def test_one_who_may_do_all_has_every_role() -> None:
    (found,) = rights_check.roles(set())
    assert found.level is Level.OK
    assert all(role in found.said for role in rights_check.ROLES)


def test_what_a_daemon_lacks_is_a_problem_and_what_others_lack_is_none() -> None:
    grave, roles = rights_check.roles({"blmove"})
    assert (grave.level, grave.check) == (Level.PROBLEM, "rights.daemon")
    assert "blmove" in grave.said
    assert "workd acl" in grave.todo
    assert roles.level is Level.OK
    (roles,) = rights_check.roles({"getdel"})
    assert roles.level is Level.NOTE
    assert "as operator it lacks getdel" in roles.said
    mild, _ = rights_check.roles({"config|get"})
    assert mild.level is Level.WARNING


@pytest.mark.parametrize("name", sorted({name for role in rights_check.ROLES for name in rights.COMMANDS[role]}))
def test_every_right_that_a_role_needs_is_asked_about_in_a_whole_command_line(name: str) -> None:
    """Give a new right its line in workd/doctor/rights.py: a valid one, or a server may crash at the question."""
    line = rights_check.line_of(name)
    assert line is not None
    assert line.split("\n")[: name.count("|") + 1] == name.split("|")


def test_a_command_without_a_line_is_not_asked_about() -> None:
    assert rights_check.line_of("flushall") is None


def test_answers_are_of_the_commands_that_were_asked_about() -> None:
    def ask(verb: str, _script: str, _keys: int, *lines: str) -> list[int]:
        assert verb == "EVAL"
        return [0 if line.startswith("blmove") else -1 if line.startswith("waitaof") else 1 for line in lines]

    assert "lacks blmove," in rights_check.examine(ask)[0].said
