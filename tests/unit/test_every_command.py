"""All commands look alike: help, examples, --json, exit codes, completion. A new command is in here by being one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support import command_lines
from workd import __main__ as program
from workd import settings
from workd.cli import app, catalogue
from workd.cli.catalogue import Command
from workd.exits import MEANINGS, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = catalogue.commands()
GROUPS = [one.path for one in catalogue.entries() if not isinstance(one, Command)]
PROMISED = {
    "run", "enqueue", "result", "status", "cancel", "health", "schema", "config", "doctor", "demo", "completion",
    "inspect", "stacks", "scale", "quiet",
    "queues list", "queues pause", "queues resume", "queues purge", "queues move",
    "dead list", "dead show", "dead edit", "dead replay", "dead purge", "schedule list", "schedule next",
    "resume", "reload", "acl",
}  # fmt: skip
each = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WORKD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> int:
    """Call workd as `workd.__main__` does, but without a forkserver, and return the exit code."""
    try:
        return app.call(list(words)) if words[:1] != ("health",) else program._run(list(words))
    except SystemExit as end:  # argparse's way, for `workd health`
        return int(str(end.code))


def shown(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a command, as it is printed."""
    assert call(*path, "--help") == Exit.OK
    return capsys.readouterr().out


def test_all_that_is_promised_is_there() -> None:
    assert {command.name for command in COMMANDS} >= PROMISED


# ── help


@each
def test_help_fits_a_hundred_columns_and_explains_everything(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    text = shown(command.path, capsys)
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert re.search(rf"^usage: workd {command.name}\b", text, re.IGNORECASE)
    assert [one.names for one in (*command.arguments, *command.options) if not one.help] == []


@each
def test_the_first_sentence_is_short_and_is_one(command: Command) -> None:
    assert len(command.short) <= 60, command.short
    assert command.short.endswith(".")


@pytest.mark.parametrize("path", [(), *GROUPS], ids=" ".join)
def test_lists_of_commands_are_not_cut_off(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in shown(path, capsys).partition("Commands:")[2]


@each
def test_there_is_an_example_which_is_a_valid_command_line_of_one_line(command: Command) -> None:
    assert command.examples
    for example in command.examples:
        assert len(example) <= 76
        assert command_lines.parsed(example) == command.path


def test_an_example_that_is_none_would_be_found() -> None:
    for wrong in ("workd status --jsn", "workd dead list --limit x", "workd nothing", "redis-cli ping"):
        with pytest.raises(command_lines.WrongExampleError):
            command_lines.parsed(wrong)


# ── what a machine reads


@each
def test_each_has_json(command: Command) -> None:
    assert ("--json",) in [option.names for option in command.options]


@each
def test_none_has_an_option_of_its_own_name_for_what_all_have(command: Command) -> None:
    names = {name for option in command.options for name in option.names}
    assert names.isdisjoint({"--redis", "--url", "--conf", "--file", "--quiet-json", "--format-json"})
    assert "--queue" not in names or "-q" in names


@each
def test_a_wrong_word_is_one_line_and_exit_code_2(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command.path, "--no-such-option") == Exit.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("workd: ")
    assert "--no-such-option" in line


WITH_REDIS = [one for one in COMMANDS if ("--redis-url",) in [option.names for option in one.options]]


@pytest.mark.parametrize("command", WITH_REDIS, ids=lambda command: command.name)
@pytest.mark.parametrize("word", ["\udcff", "\x1b[2J", "", "-", "nan", "9" * 400], ids=lambda word: ascii(word)[:9])
def test_no_nonsense_makes_a_traceback(command: Command, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is typed for an argument or an option: the answer is one of ours, and no mistake of workd's."""
    if command.path == ("run",):
        return
    url = ["--redis-url", "redis://127.0.0.1:1/0"]
    needed = [word for one in command.arguments if one.required]
    yes = ["--yes"] if ("-y", "--yes") in [option.names for option in command.options] else []
    lines = [[*needed], *([*needed, f"{option.names[-1]}={word}"] for option in command.options if option.metavar)]
    for line in lines:
        if any(part.startswith(("--redis-url", "--wait-s")) for part in line):
            continue
        code = app.call([*command.path, *line, *url, *yes, "--"])
        printed = capsys.readouterr()
        assert code in {Exit.OK, Exit.FAILURE, Exit.USAGE, Exit.CONFIG, Exit.TASKS, Exit.REDIS}, (line, printed.err)
        assert "\x1b" not in printed.out + printed.err
        assert "Traceback" not in printed.err


# ── exit codes


def test_each_exit_code_has_a_meaning() -> None:
    assert list(MEANINGS) == sorted(Exit)


# ── completion


def completed(*words: str) -> list[str]:
    """What the shell would be told, asked as bash asks."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COMP_WORDS": shlex.join(["workd", *words]),
        "COMP_CWORD": str(len(words)),
        "_WORKD_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "workd"], capture_output=True, text=True, timeout=60, check=True, env=environ
    )
    return done.stdout.split()


def test_a_shell_is_told_commands_and_options() -> None:
    assert completed("dead", "re") == ["replay"]
    assert "--live" in completed("health", "--")
    assert completed("completion", "z") == ["zsh"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shells_script_asks_workd(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.call(["completion", shell]) == Exit.OK
    script = capsys.readouterr().out
    assert f"_WORKD_COMPLETE=complete_{shell}" in script
    assert "_WORKD_COMPLETE" not in os.environ
    assert app.call(["completion", shell, "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": script.strip()}


# ── pipes


@pytest.fixture
def pipe_that_nobody_reads() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_reader_that_has_seen_enough_is_no_traceback(pipe_that_nobody_reads: int) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "workd", "schema"],
        stdout=pipe_that_nobody_reads, stderr=subprocess.PIPE, timeout=60, check=False, env=environ,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (Exit.CLOSED, b"")
