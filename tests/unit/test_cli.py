import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

import workd.__main__
from workd import errors, log, settings
from workd.cli import app, enqueue
from workd.exits import Exit
from workd_tasks import TaskDefinitionError

FOREIGN_MODULE = "shell_test_tasks"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in settings.names():
        monkeypatch.delenv(settings.variable(name), raising=False)
    monkeypatch.delenv("WORKD_CONFIG", raising=False)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")
    monkeypatch.setattr(log, "configure", lambda *_args, **_bound: None)


@pytest.fixture
def where_people_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory of a command line, which may hold a task module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    sys.modules.pop(FOREIGN_MODULE, None)


class FakeSupervisor(ModuleType):
    """Takes the supervisor's place and keeps what it was called with."""

    def __init__(self, answer: int | Exception) -> None:
        super().__init__("workd.supervisor")
        self.answer = answer
        self.calls: list[tuple[settings.Settings, object]] = []
        self.read: Callable[[], settings.Settings]
        self.watched = False

    def run(
        self, chosen: settings.Settings, *, read: Callable[[], settings.Settings], launched: object, watched: bool
    ) -> int:
        self.calls.append((chosen, launched))
        self.read, self.watched = read, watched
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def supervised(monkeypatch: pytest.MonkeyPatch, answer: int | Exception = 0) -> FakeSupervisor:
    supervisor = FakeSupervisor(answer)
    monkeypatch.setitem(sys.modules, "workd.supervisor", supervisor)
    monkeypatch.setattr("workd.supervisor", supervisor, raising=False)
    return supervisor


# ── run


def test_run_hands_settings_modules_and_the_forkserver_to_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = supervised(monkeypatch)
    forkserver = object()
    assert app.call(["run", "a.b", "c", "--workers", "3", "--queues", "x,y", "--require-redis"], forkserver) == 0
    ((chosen, launched),) = supervisor.calls
    assert (chosen.workers, chosen.queues, chosen.require_redis) == (3, ("x", "y"), True)
    assert (chosen.modules, launched, supervisor.watched) == (("a.b", "c"), forkserver, False)


def test_run_reads_the_file_again_when_it_is_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    supervisor = supervised(monkeypatch)
    file = tmp_path / "c.toml"
    file.write_text("drain_s = 1\nlease_s = 2")
    assert app.call(["run", "m", "--config", str(file), "--lease-s", "9", "--reload"]) == 0
    assert supervisor.watched
    file.write_text("drain_s = 5")
    again = supervisor.read()
    assert (again.drain_s, again.lease_s, again.modules) == (5, 9, ("m",))
    file.write_text("drain_s = -1")
    with pytest.raises(errors.SettingsError, match="drain_s"):
        supervisor.read()


def test_a_daemon_that_is_to_take_signed_messages_alone_does_not_start_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = supervised(monkeypatch)
    assert app.call(["run", "m", "--require-signatures"]) == Exit.CONFIG
    assert capsys.readouterr().err.startswith("workd: signing_keys: there are none, and require_signatures is set")
    assert supervisor.calls == []
    monkeypatch.setenv("WORKD_SIGNING_KEYS", "correct-horse-battery-staple")
    assert app.call(["run", "m", "--require-signatures"]) == 0
    monkeypatch.delenv("WORKD_SIGNING_KEYS")  # a reload that finds none changes nothing
    with pytest.raises(errors.SettingsError, match="signing_keys"):
        supervisor.read()


def test_reload_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    supervised(monkeypatch)
    monkeypatch.setattr("workd.cli.run.find_spec", lambda name: None)
    assert app.call(["run", "m", "--reload"]) == Exit.CONFIG
    assert "workd[reload]" in capsys.readouterr().err


def test_run_takes_its_modules_from_the_file_where_none_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    supervisor = supervised(monkeypatch)
    (tmp_path / "c.toml").write_text('modules = ["mine"]\nworkers = 2')
    assert app.call(["run", "--config", str(tmp_path / "c.toml")]) == 0
    monkeypatch.setenv("WORKD_CONFIG", str(tmp_path / "c.toml"))
    assert app.call(["run", "yours"]) == 0
    assert [chosen.modules for chosen, _ in supervisor.calls] == [("mine",), ("yours",)]


def test_run_without_modules_says_how_to_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["run"]) == Exit.CONFIG
    assert capsys.readouterr().err.startswith("workd: modules: no task module is named: workd run MODULE")


def test_the_supervisors_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    supervised(monkeypatch, Exit.REDIS)
    assert app.call(["run", "m"]) == Exit.REDIS


def test_warnings_about_settings_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    supervised(monkeypatch)
    monkeypatch.setenv("WORKD_LEASE", "3")
    with structlog.testing.capture_logs() as lines:
        app.call(["run", "m"])
    assert [line["event"] for line in lines] == ["WORKD_LEASE is not a setting; did you mean WORKD_LEASE_S?"]


def test_every_setting_is_a_flag_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["run", "--help"]) == 0
    words = capsys.readouterr().out.split()
    without = {"modules", "schedule", "signing_keys"}  # arguments, a table of the file, and no secret for `ps`
    assert [name for name in settings.names() if name not in without and settings.flag(name) not in words] == []


@pytest.mark.parametrize("command", [[], ["run"], ["enqueue"], ["config"], ["schema"], ["demo"]])
def test_h_is_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call([*command, "-h"]) == 0
    assert "Usage: workd" in capsys.readouterr().out


# ── errors


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "m", "--leas-s", "3"], "--lease-s"),
        (["run", "m", "--lease-s"], "--lease-s"),
        (["rnu"], "Did you mean 'run'?"),
        (["enqueue"], "Missing argument"),
        (["enqueue", "square", "--kwargs", "x"], "Invalid value for --kwargs: 'x' is not JSON"),
        (["enqueue", "square", "--kwargs", "[1]"], "'[1]' is not a JSON object"),
        (["enqueue", "square", "--delay", "soon"], "--delay"),
        (["enqueue", "square", "--delay", "-3"], "'--delay': -3 is no number of seconds"),
        (["enqueue", "square", "--delay", "nan"], "'--delay': nan is no number of seconds"),
        (["enqueue", "square", "--wait", "--wait-s", "-1"], "'--wait-s': -1 is no number of seconds"),
        (["enqueue", "square", "--wait", "--wait-s", "nan"], "'--wait-s': nan is no number of seconds"),
        (["enqueue", "square", "--wait-s", "3"], "--wait-s: it says how long --wait waits: add --wait"),
        (["enqueue", "square", "-5"], "-5 (for an argument, write -- before the first one)"),
    ],
)
def test_a_wrong_command_line_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(argv) == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("workd: ")
    assert said in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("lease_s", "no"), Exit.CONFIG),
        (TaskDefinitionError("no"), Exit.TASKS),
        (errors.BootError("mine", "ImportError: no"), Exit.TASKS),
        (errors.BootError("", "workers do not come up"), Exit.BOOT),
        (errors.BrokerUnavailableError("no"), Exit.REDIS),
        (errors.WrongKeyTypeError("workd:{default}:stream"), Exit.REDIS),
        (errors.ServerUnavailableError("no"), Exit.REDIS),
        (errors.EnqueueTimeoutError("no"), Exit.REDIS),
        (errors.InvalidJobError("no"), Exit.USAGE),
        (errors.ResultTimeoutError("1-0", 3), Exit.FAILURE),
        (errors.WorkdError("two\nlines"), Exit.FAILURE),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(
    error: Exception, code: Exit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    supervised(monkeypatch, error)
    assert app.call(["run", "m"]) == code
    assert capsys.readouterr().err == f"workd: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize("argv", [["--debug", "run", "m"], ["run", "--debug", "m"], ["run", "m", "--debug"]])
def test_debug_shows_the_traceback(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    supervised(monkeypatch, errors.BrokerUnavailableError("away"))
    assert app.call(argv) == Exit.REDIS
    written = capsys.readouterr().err
    assert written.startswith("Traceback")
    assert written.endswith("workd: away\n")


def test_a_mistake_of_ours_always_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    supervised(monkeypatch, KeyError("x"))
    assert app.call(["run", "m"]) == Exit.BUG
    written = capsys.readouterr().err
    assert written.startswith("Traceback")
    assert "a mistake of workd's" in written


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_args: object, **_options: object) -> int:
        raise KeyboardInterrupt

    supervisor = supervised(monkeypatch)
    monkeypatch.setattr(supervisor, "run", interrupted)
    assert app.call(["run", "m"]) == Exit.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_exit_codes_never_change_their_meaning() -> None:
    assert {code.name: code.value for code in Exit} == {
        "OK": 0, "FAILURE": 1, "USAGE": 2, "CONFIG": 3, "TASKS": 4, "REDIS": 5, "BOOT": 6, "BUG": 70,
        "INTERRUPTED": 130, "CLOSED": 141,
    }  # fmt: skip


# ── config


def test_config_prints_toml_with_each_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKD_REDIS_URL", "redis://:hunter2@cache/0")
    assert app.call(["config", "--lease-s", "5"]) == 0
    written = capsys.readouterr().out
    assert tomllib.loads(written)["lease_s"] == 5
    assert "hunter2" not in written
    origins = {line.split()[0]: line.partition("  # ")[2] for line in written.splitlines()}
    assert origins.keys() == set(settings.names())
    assert (origins["lease_s"], origins["redis_url"], origins["drain_s"]) == (
        "--lease-s", "WORKD_REDIS_URL", "default"
    )  # fmt: skip


def test_config_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["config", "--json", "--queues", "a,b"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["queues"] == {"value": ["a", "b"], "origin": "--queues"}


def test_config_prints_a_schedule_as_toml_that_can_be_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "workd.toml"
    file.write_text(
        '[schedule.nightly]\ntask = "report"\ncron = "0 3 * * *"\nargs = ["😀", [1, 2.5]]\n'
        "kwargs = { deep = { er = true } }\n"
    )
    assert app.call(["config", "--config", str(file)]) == 0
    written = tomllib.loads(capsys.readouterr().out)
    assert written["schedule"] == tomllib.loads(file.read_text())["schedule"]
    assert app.call(["config", "--config", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["schedule"]
    assert shown == {"value": written["schedule"], "origin": str(file)}


def test_config_prints_a_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["config", "--template"]) == Exit.OK
    file = tmp_path / "workd.toml"
    file.write_text(capsys.readouterr().out)
    assert app.call(["config", "--check", "--config", str(file)]) == Exit.OK
    assert capsys.readouterr() == ("", "")
    assert app.call(["config", "--template", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out).keys() == set(settings.names())


def test_config_check_says_only_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "workd.toml"
    file.write_text("lease_s = 0.5")
    assert app.call(["config", "--check", "--config", str(file)]) == Exit.CONFIG
    assert "lease_s" in capsys.readouterr().err
    file.write_text("lease_s = 5")
    monkeypatch.setenv("WORKD_LEASE", "3")
    assert app.call(["config", "--check", "--config", str(file)]) == Exit.FAILURE
    printed = capsys.readouterr()
    assert printed == ("", "workd: WORKD_LEASE is not a setting; did you mean WORKD_LEASE_S?\n")


# ── schema


def test_schema_describes_messages_outcomes_and_the_tasks_of_a_module(
    where_people_stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (where_people_stand / f"{FOREIGN_MODULE}.py").write_text(
        "from workd import task\n@task\ndef shell_add(a: int, b: int = 2) -> float: ...\n"
    )
    assert app.call(["schema", FOREIGN_MODULE]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["message"]["required"] == ["task"]
    assert "status" in printed["outcome"]["properties"]
    task = printed["tasks"]["shell_add"]
    assert task["arguments"]["required"] == ["a"]
    assert task["arguments"]["properties"]["b"]["type"] == "integer"
    assert task["result"] == {"type": "number"}


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (None, "ModuleNotFoundError: No module named 'shell_test_tasks'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError"),
        ("raise SystemExit('sorry')", "SystemExit: sorry"),
    ],
)
def test_a_module_that_does_not_import_is_one_line(
    source: str | None, cause: str, where_people_stand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if source is not None:
        (where_people_stand / f"{FOREIGN_MODULE}.py").write_text(source)
    assert app.call(["schema", FOREIGN_MODULE]) == Exit.TASKS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"workd: {FOREIGN_MODULE} does not import: {cause}")


def test_what_a_module_prints_is_not_in_the_json(where_people_stand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (where_people_stand / f"{FOREIGN_MODULE}.py").write_text("print('hello')")
    assert app.call(["schema", FOREIGN_MODULE]) == 0
    printed = capsys.readouterr()
    assert "message" in json.loads(printed.out)
    assert printed.err == "hello\n"


# ── enqueue


@pytest.mark.parametrize("url", ["redis://me:S3C/RET@localhost:1/0", "redis://me:S3C#RET@localhost:1/0"])
def test_a_url_that_does_not_parse_is_not_printed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["enqueue", "square", "4", "--debug", "--redis-url", url]) == Exit.CONFIG
    written = capsys.readouterr().err
    assert "workd: redis_url: " in written
    assert "S3C" not in written
    assert "RET" not in written


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("4", 4),
        ("-1.5", -1.5),
        ("[1, 2]", [1, 2]),
        ("true", True),
        ("null", None),
        ('"4"', "4"),
        ("cat.jpg", "cat.jpg"),
        ("True", "True"),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_an_argument_is_json_or_else_a_string(word: str, value: Any) -> None:
    assert enqueue._value(word) == value


# ── the process


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["--version"]) == 0
    assert capsys.readouterr().out.startswith("workd 0.")


def test_no_command_at_all_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call([]) == 0
    assert "Usage: workd" in capsys.readouterr().out


def test_health_is_a_command_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["health", "--http", "127.0.0.1:1"]) == Exit.FAILURE
    assert "no daemon answers at 127.0.0.1:1" in capsys.readouterr().err


def test_python_m_workd_is_the_command_line() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "workd", "config", "--workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert done.returncode == Exit.CONFIG
    assert done.stderr == "workd: workers: should be greater than or equal to 1 ('0' from --workers)\n"


def test_without_typer_the_command_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["workd", "config"])
    monkeypatch.setitem(sys.modules, "typer", None)
    for name in [name for name in sys.modules if name.startswith("workd.cli")]:
        monkeypatch.delitem(sys.modules, name)
    assert workd.__main__.main() == Exit.FAILURE
    assert capsys.readouterr().err == "workd: typer is not installed: pip install 'workd[daemon]'\n"


def test_ctrl_c_while_it_starts_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_argv: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["workd", "run", "m"])
    monkeypatch.setattr(workd.__main__, "_launch_early", interrupted)
    assert workd.__main__.main() == Exit.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_a_terminal_that_is_gone_does_not_change_the_exit_code() -> None:
    program = """
import sys
from workd import __main__ as command

def run(argv):
    sys.stdout.write("drained")
    return 0

command._run = run
sys.exit(command.main())
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writing, stderr=writing, timeout=60, check=False, env=environ
        )
    finally:
        os.close(writing)
    assert done.returncode == 0
