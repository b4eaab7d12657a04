"""What the doctor says of this machine: files, users, limits, task modules, and who answers."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from workd import settings
from workd.broker.queue_state import QueueState
from workd.broker.queues import Paused
from workd.cli.health import Answer
from workd.client.daemons import DaemonInfo
from workd.doctor import answers, configuration, files, fleet, machine, rounds, tasks
from workd.doctor.files import User
from workd.doctor.findings import Finding, Level, ok
from workd.doctor.units import Unit

STRANGER = User("stranger", 64_000, frozenset({64_000}))
PLENTY = machine.Machine(8, 16 << 30, "the machine", 65_536, None, 2, frozenset({"memory"}))


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WORKD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")


def of(found: list[Finding], check: str) -> Finding:
    (one,) = [one for one in found if one.check == check]
    return one


# ── settings


def test_wrong_settings_are_a_problem_and_the_others_are_still_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "workd.toml"
    file.write_text("lease_s = 0.1")
    loaded, (found,) = configuration.read({}, file)
    assert found.level is Level.PROBLEM
    assert "lease_s" in found.said
    assert loaded.settings.lease_s == 15


def test_right_settings_say_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "workd.toml"
    file.write_text("lease_s = 5")
    _, (found,) = configuration.read({"workers": "2"}, file)
    assert found.level is Level.OK
    assert f"from --workers, {file}" in found.said
    monkeypatch.setenv("WORKD_LEASE", "3")
    _, found_now = configuration.read({}, file)
    assert of(found_now, "settings.meaning").level is Level.WARNING


# ── files


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that everybody may search, up to the root."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    return tmp_path


def written(folder: Path, text: str, mode: int) -> Path:
    path = folder / "workd.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_that_the_daemon_cannot_read_is_a_problem(open_folder: Path) -> None:
    path = written(open_folder, "lease_s = 5", 0o600)
    (found,) = files.config(path, STRANGER)
    assert (found.level, "-rw-------" in found.said) == (Level.PROBLEM, True)
    path.chmod(0o644)
    (found,) = files.config(path, STRANGER)
    assert found.level is Level.OK
    open_folder.chmod(0o700)
    (found,) = files.config(path, STRANGER)
    assert f"{open_folder} is closed to it" in found.said


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ('redis_url = "redis://:hunter2@h/0"', True),
        ('signing_keys = ["0123456789abcdef"]', True),
        ('redis_url = "redis://h/0"', False),
        ("signing_keys = []", False),
    ],
)
def test_a_secret_that_everybody_may_read_is_a_problem(text: str, is_secret: bool, open_folder: Path) -> None:
    path = written(open_folder, text, 0o644)
    (found,) = files.config(path, User.current())
    assert found.level is (Level.PROBLEM if is_secret else Level.OK)
    assert "hunter2" not in found.said + found.todo
    path.chmod(0o640)
    (found,) = files.config(path, User.current())
    assert found.level is Level.OK


def test_a_file_that_everybody_may_write_is_a_problem(open_folder: Path) -> None:
    (found,) = files.config(written(open_folder, "lease_s = 5", 0o646), User.current())
    assert (found.level, found.check) == (Level.PROBLEM, "files.config")


def test_a_credential_is_kept_or_not(open_folder: Path) -> None:
    path = written(open_folder, "redis://:x@h/0", 0o644)
    assert files.credential("redis_url", path).level is Level.PROBLEM
    path.chmod(0o600)
    assert files.credential("redis_url", path).level is Level.OK
    assert files.credential("redis_url", open_folder / "none").level is Level.NOTE


def test_a_socket_needs_a_folder_that_can_be_written(open_folder: Path) -> None:
    http = f"unix:{open_folder}/health.sock"
    found = files.health_socket(http, STRANGER)
    assert found is not None
    assert found.level is Level.PROBLEM
    open_folder.chmod(stat.S_IRWXU | stat.S_IRWXO)
    found = files.health_socket(http, STRANGER)
    assert found is not None
    assert found.level is Level.OK
    assert files.health_socket("127.0.0.1:1", STRANGER) is None


def test_the_socket_of_redis_has_to_be_there_and_open(open_folder: Path) -> None:
    path = open_folder / "s"
    url = f"unix://{path}?db=0"
    missing = files.redis_socket(url, STRANGER)
    assert missing is not None
    assert (missing.level, "No such file" in missing.said) == (Level.PROBLEM, True)
    path.touch()
    path.chmod(0o666)
    there = files.redis_socket(url, STRANGER)
    assert there is not None
    assert there.level is Level.OK
    assert files.redis_socket("redis://h/0", STRANGER) is None


def test_root_may_do_all_and_unknown_users_are_none() -> None:
    assert User("root", 0, frozenset()).may(os.stat("/"), 7)  # noqa: PTH116 - any status will do
    assert User.of("nobody-of-that-name") is None
    assert User.of("root") is not None


# ── machine


def machine_with(**changes: object) -> machine.Machine:
    values = {name: getattr(PLENTY, name) for name in PLENTY.__slots__}
    return machine.Machine(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "workers", "check", "level"),
    [
        ({}, 8, "machine.cores", Level.OK),
        ({}, 4, "machine.cores", Level.NOTE),
        ({}, 64, "machine.cores", Level.WARNING),
        ({}, 8, "machine.memory", Level.OK),
        ({"memory_bytes": 100 << 20}, 8, "machine.memory", Level.WARNING),
        ({"memory_bytes": None}, 8, "machine.memory", Level.NOTE),
        ({}, 8, "machine.files", Level.OK),
        ({"open_files": 128}, 8, "machine.files", Level.PROBLEM),
        ({"tasks": 10}, 8, "machine.processes", Level.PROBLEM),
        ({}, 8, "machine.cgroup", Level.OK),
        ({"cgroup": 1}, 8, "machine.cgroup", Level.OK),
        ({"cgroup": None}, 8, "machine.cgroup", Level.NOTE),
        ({"controllers": frozenset({"cpu"})}, 8, "machine.cgroup", Level.WARNING),
    ],
)
def test_what_there_is_is_compared_with_what_is_asked_for(
    changes: dict[str, object], workers: int, check: str, level: Level
) -> None:
    found = machine.examine(machine_with(**changes), settings.Settings(workers=workers))
    assert of(found, check).level is level


def test_a_memory_limit_of_jobs_counts_for_each_worker() -> None:
    chosen = settings.Settings(workers=8, memory_limit_bytes=4 << 30)
    assert of(machine.examine(PLENTY, chosen), "machine.memory").level is Level.WARNING


def test_this_machine_can_be_looked_at() -> None:
    here = machine.look()
    assert here.cores >= 1
    assert here.memory_bytes


def test_both_versions_of_cgroups_are_known(tmp_path: Path) -> None:
    assert machine.cgroups(tmp_path / "none") == (None, frozenset())
    (tmp_path / "memory").mkdir()
    assert machine.cgroups(tmp_path) == (1, frozenset({"memory"}))
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert machine.cgroups(tmp_path) == (2, frozenset({"cpu", "memory"}))


# ── tasks


def examined(module: str, source: str, folder: Path, timeout_s: float = 60) -> Finding:
    (folder / f"{module}.py").write_text(source)
    (found,) = tasks.examine([module], timeout_s, {}, str(folder))
    return found


def test_modules_are_imported_in_a_process_of_their_own(tmp_path: Path) -> None:
    source = "import os; open('pid', 'w').write(str(os.getpid()))\nfrom workd import task\n@task\ndef doctored(): ...\n"
    found = examined("doctor_good", source, tmp_path)
    assert (found.level, "doctored" in found.said) == (Level.OK, True)
    assert int((tmp_path / "pid").read_text()) != os.getpid()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nothing_like_it", "No module named 'nothing_like_it'"),
        ("pass", "define no task"),
        ("import os; os._exit(9)", "ended with code 9"),
    ],
)
def test_a_module_that_does_not_import_is_a_problem(source: str, said: str, tmp_path: Path) -> None:
    found = examined("doctor_bad", source, tmp_path)
    assert found.level is Level.PROBLEM
    assert said in found.said
    assert found.todo


def test_an_import_that_hangs_is_ended(tmp_path: Path) -> None:
    found = examined("doctor_hanging", "import time; time.sleep(600)", tmp_path, timeout_s=1)
    assert (found.level, "has not ended" in found.said) == (Level.PROBLEM, True)


def test_no_modules_are_a_note() -> None:
    (found,) = tasks.examine([], 1, {}, None)
    assert found.level is Level.NOTE


# ── who answers


def answering(status: int, reasons: list[str]) -> Answer:
    return Answer(status, {"reasons": reasons})


@pytest.mark.parametrize(
    ("answer", "expected", "level"),
    [
        (answering(200, []), True, Level.OK),
        (answering(503, ["paused"]), True, Level.WARNING),
        (ValueError("no daemon answers at x: refused"), True, Level.PROBLEM),
        (ValueError("no daemon answers at x: refused"), False, Level.NOTE),
        (ValueError("x is not a workd: it does not speak HTTP"), False, Level.PROBLEM),
    ],
)
def test_the_daemon_of_this_machine_is_asked(answer: Answer | Exception, expected: bool, level: Level) -> None:
    def ask(*_: object) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert answers.daemon("127.0.0.1:1", expected=expected, ask=ask).level is level


def test_a_port_that_somebody_else_has_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        found = answers.daemon(f"127.0.0.1:{listener.getsockname()[1]}", expected=False)
        thread.join()
    assert (found.level, "is not a workd" in found.said) == (Level.PROBLEM, True)


def test_no_address_is_a_note() -> None:
    assert answers.daemon("", expected=True).level is Level.NOTE


def test_a_unit_that_logs_nowhere_is_warned_of() -> None:
    (found,) = answers.log_target(Unit({"Id": "workd.service", "StandardError": "null"}))
    assert found.level is Level.WARNING
    assert answers.log_target(None)
    assert answers.room(Path("/"), 0.99)[0].level is Level.WARNING
    assert answers.room(Path("/"), 0.5) == []


# ── the fleet


def state(**changes: object) -> QueueState:
    values = {
        "name": "default", "queued": 0, "waiting": 0, "running": 0, "scheduled": 0, "dead": 0, "inbox": 0, "daemons": 1,
        "dead_trimmed": 0, "oldest_s": None, "due_in_s": None, "paused": None,
    }  # fmt: skip
    return QueueState(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "check", "level"),
    [
        ({}, "fleet.queue", Level.OK),
        ({"queued": None}, "fleet.queue", Level.NOTE),
        ({"queued": 3, "daemons": 0}, "fleet.queue", Level.PROBLEM),
        ({"queued": 3, "paused": Paused("", "", 0.0, None)}, "fleet.paused", Level.WARNING),
        ({"queued": 3, "oldest_s": 4000.0}, "fleet.backlog", Level.WARNING),
        ({"scheduled": 3, "due_in_s": -100.0}, "fleet.schedule", Level.WARNING),
        ({"inbox": 5000}, "fleet.inbox", Level.WARNING),
        ({"dead": 1}, "fleet.dead", Level.NOTE),
    ],
)
def test_queues_that_do_not_get_on_are_said(changes: dict[str, object], check: str, level: Level) -> None:
    assert of(fleet.queue(state(**changes)), check).level is level


def test_a_key_that_is_somebody_elses_is_a_problem() -> None:
    assert fleet.strangers("q", lambda _: "none") == []
    types = {"workd:{q}:stream": "stream", "workd:{q}:inbox": "list", "workd:{q}:scheduled": "zset"}
    wrong = fleet.strangers("q", lambda key: types.get(key, "string"))
    assert wrong == ["workd:{q}:dead", "workd:{q}:leases"]
    assert {one.level for one in fleet.queue(state(), wrong)} == {Level.PROBLEM}


def card(**changes: object) -> DaemonInfo:
    values = {
        "id": "h:1:a", "host": "h", "pid": 1, "version": "1", "queues": ("default",), "started_at": 0, "at": 0,
        "state": "running", "workers": 2, "workers_ready": 2, "jobs_in_hand": 0,
    }  # fmt: skip
    return DaemonInfo.model_validate(values | changes)


def test_daemons_are_counted_and_compared() -> None:
    assert of(fleet.daemons([]), "fleet.daemons").level is Level.NOTE
    assert {one.level for one in fleet.daemons([card()])} == {Level.OK}
    assert of(fleet.daemons([card(), card(version="2")]), "fleet.versions").level is Level.NOTE
    assert of(fleet.daemons([card(crashes=9, ended=10)]), "fleet.crashes").level is Level.WARNING


# ── all of it


def test_a_check_that_fails_itself_does_not_end_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> list[Finding]:
        raise KeyError("x")

    monkeypatch.setattr(rounds, "_CHECKS", {"machine": broken, "files": lambda _: [ok("files.config", "fine")]})
    found = list(rounds.examine({}, None))
    assert of(found, "machine.failed").level is Level.WARNING
    assert of(found, "files.config").level is Level.OK
    assert rounds.worst(found) is Level.WARNING
    assert rounds.worst([]) is Level.OK


def test_credentials_are_looked_for_where_systemd_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workd.redis_url").write_text("redis://:x@elsewhere/0\n")
    monkeypatch.setattr(rounds, "_CREDENTIALS", (tmp_path,))
    unit = Unit({"Id": "workd.service", "LoadCredential": "redis_url:workd.redis_url signing_keys:workd.signing_keys"})
    assert rounds.credentials(unit) == {"redis_url": tmp_path / "workd.redis_url"}
    brought, unread = rounds.brings(unit)
    loaded, (found,) = configuration.read({}, None, brought)
    assert (loaded.settings.redis_url, unread) == ("redis://:x@elsewhere/0", [])
    assert found.level is Level.OK
    assert str(tmp_path / "workd.redis_url") in found.said
    assert ":x@" not in found.said


# ── what a unit brings

KEY = "correct-horse-battery-staple"


def unit_with(**properties: str) -> Unit:
    return Unit({"Id": "workd.service", "LoadState": "loaded"} | properties)


def test_what_a_unit_sets_counts_as_for_its_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, "drain_s = 10\nworkers = 1\nqueues = ['a']", 0o600)
    argv = f"/opt/workd/bin/workd run --config {file} tasks.images --workers 3 --require-redis --log-level=debug --json"
    unit = unit_with(
        Environment="PATH=/bin WORKD_DRAIN_S=60 'WORKD_QUEUES=x,y' WORKD_WORKERS=2 WORKD_HTTP=127.0.0.1:1 WORKD_NONE=1",
        ExecStart=f"{{ path=/opt/workd/bin/workd ; argv[]={argv} ; ignore_errors=no ; start_time=[n/a] }}",
    )
    monkeypatch.setenv("WORKD_HTTP", "127.0.0.1:2")
    chosen = configuration.read({}, file, rounds.brings(unit)[0])[0].settings
    assert (chosen.drain_s, chosen.queues, chosen.workers, chosen.require_redis) == (60, ("x", "y"), 3, True)
    assert (chosen.modules, chosen.log_level, chosen.http) == (("tasks.images",), "debug", "127.0.0.1:2")


def test_a_wrong_value_in_a_unit_is_named_with_its_place() -> None:
    _, (found,) = configuration.read({}, None, rounds.brings(unit_with(Environment="WORKD_DRAIN_S=soon"))[0])
    assert found.level is Level.PROBLEM
    assert "drain_s" in found.said
    assert "Environment= of workd.service" in found.said


@pytest.mark.parametrize("text", ["", "'", '"a=b', "=", "A"])
def test_an_environment_that_cannot_be_read_is_none(text: str) -> None:
    assert {name for name in unit_with(Environment=text).environment if name.startswith("WORKD")} == set()


def test_whether_messages_have_to_be_signed_is_said() -> None:
    required = settings.Settings(require_signatures=True)
    assert configuration.signatures(settings.Settings(signing_keys=(KEY,))).level is Level.OK
    assert configuration.signatures(settings.Settings()).level is Level.NOTE
    assert configuration.signatures(required).level is Level.PROBLEM
    assert configuration.signatures(required, hidden=True).level is Level.NOTE


def test_a_secret_in_a_closed_folder_is_kept_whatever_its_own_mode(open_folder: Path) -> None:
    path = written(open_folder, f"redis_url = 'redis://:{KEY}@h/0'", 0o666)
    assert files.credential("redis_url", path).level is Level.PROBLEM
    assert {one.level for one in files.config(path, User.current())} == {Level.PROBLEM}
    open_folder.chmod(0o700)
    assert files.credential("redis_url", path).level is Level.OK
    assert {one.level for one in files.config(path, User.current())} == {Level.OK}
