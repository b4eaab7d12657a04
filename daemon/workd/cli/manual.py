"""The manual pages workd(1) and workd.toml(5), made from the commands, the exit codes and the settings themselves.

`make man` writes them into deploy/man; a test compares what is there with what would be written. Pure, but for `main`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_origin

from workd import settings
from workd.cli import catalogue, options, roff, toml
from workd.cli.catalogue import Command
from workd.crontab import Line
from workd.exits import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo

    from workd.cli.catalogue import Option

_DATE: Final = "2026-11-26"
_SIGNALS: Final = {
    "TERM, INT": "Drain: fetch nothing more, let running tasks finish for at most `drain_s`, hand the rest back, end"
    " with 0. A second one makes that time now.",
    "QUIT": "Stop now: end what runs and hand everything back.",
    "HUP": "Reload: new workers with new code take over, one after the other, without losing a job.",
    "USR1": "Quiet: fetch nothing more, and stay.",
    "TTIN, TTOU": "One worker more, one worker less.",
    "USR2": "Write into the log what runs, and where each worker is.",
}
_ENVIRONMENT: Final = {
    "WORKD_LEASE_S": "And so on: each setting of workd.toml(5) in capitals after `WORKD_`.",
    "WORKD_CONFIG": "The settings file, as `--config`.",
    "CREDENTIALS_DIRECTORY": "Set by systemd: the files `redis_url` and `signing_keys` in it are settings.",
    "NOTIFY_SOCKET, WATCHDOG_USEC": "Set by systemd: the daemon says when it is ready, and that it is alive.",
    "VISUAL, EDITOR": "What `workd dead edit` mends a message with; else vi.",
}
_COMMON: Final = (
    ("--json", "", "Print JSON: see above."),
    ("--config", "FILE", f"The settings file. Default: {settings.DEFAULT_CONFIG}, if there is one."),
    ("--redis-url", "URL", "The Redis or Valkey server, if not that of the settings."),
    ("-h, --help", "", "Print a summary of the command."),
)
_MANY: Final = 10


def command_page() -> str:
    """Write workd(1)."""
    return _page("workd", 1, _about_commands())


def settings_page() -> str:
    """Write workd.toml(5)."""
    return _page("workd.toml", 5, _about_settings())


PAGES: Final = {"workd.1": command_page, "workd.toml.5": settings_page}


def own_options(command: Command) -> tuple[tuple[Option, ...], bool]:
    """Return a command's options without those that are settings, where those are many; and whether some were."""
    flags = {settings.flag(name) for name in settings.names()}
    others = tuple(one for one in command.options if flags.isdisjoint(one.names))
    has_settings = len(command.options) - len(others) > _MANY
    return (others if has_settings else command.options), has_settings


def usage(command: Command) -> str:
    """Write how a command is called."""
    arguments = [_argument(one) for one in command.arguments]
    return " ".join(["workd", *command.path, "[OPTION]...", *arguments])


def _argument(one: Option) -> str:
    name = f"{one.names[0]}..." if one.repeated else one.names[0]
    return name if one.required else f"[{name}]"


def _page(name: str, section: int, blocks: Iterable[str]) -> str:
    return "\n".join([roff.title(name, section, _DATE, version("workd")), *blocks, ""])


def _about_commands() -> Iterator[str]:
    yield roff.section("Name")
    yield r"workd \- run Redis task messages in a supervised pool of worker processes"
    yield roff.section("Synopsis")
    yield ".B workd\n[\\fIOPTION\\fR]...\n\\fICOMMAND\\fR\n[\\fIARGUMENT\\fR]..."
    yield roff.section("Description")
    yield roff.words(
        "workd takes messages from Redis or Valkey, checks them against the signatures of your functions and runs them"
        " in a pool of worker processes. `workd run` is the daemon; the other commands send it work and look after its"
        " queues."
    )
    yield roff.paragraph(
        "With `--json` a command prints one JSON document and nothing else on standard output. What is no part of the"
        " answer is on standard error, in lines that begin with workd:."
    )
    yield roff.section("Options")
    yield from (_item(one) for one in catalogue.global_options() if not one.names[0].endswith("-completion"))
    yield roff.item(
        "--install-completion", "Have your shell complete workd's commands. For all users: `workd completion`."
    )
    yield roff.paragraph("Of most commands:")
    yield from (roff.item(f"`{name}` {value}".rstrip(), text) for name, value, text in _COMMON)
    yield roff.section("Commands")
    for one in catalogue.entries():
        if isinstance(one, Command):
            yield from _about(one)
    yield roff.section("Signals")
    yield roff.words("Of the daemon, `workd run`:")
    yield from (roff.item(name, text) for name, text in _SIGNALS.items())
    yield roff.section("Exit status")
    yield from (roff.item(str(code.value), _sentence(meaning)) for code, meaning in MEANINGS.items())
    yield roff.section("Environment")
    yield from (roff.item(name, text) for name, text in _ENVIRONMENT.items())
    yield roff.section("Files")
    yield roff.item(str(settings.DEFAULT_CONFIG), "Settings, if there is such a file and `--config` names no other.")
    yield roff.section("See also")
    yield ".BR workd.toml (5),\n.BR systemd.service (5),\n.BR redis\\-cli (1)"


def _about(command: Command) -> Iterator[str]:
    yield roff.subsection(usage(command))
    yield roff.words(command.short)
    yield from (roff.paragraph(text) for text in command.paragraphs)
    yield from (roff.item(one.names[0], _sentence(one.help)) for one in command.arguments)
    own, has_settings = own_options(command)
    common = {name for name, _, _ in _COMMON}
    yield from (_item(one) for one in own if common.isdisjoint(one.names))
    if has_settings:
        yield roff.item("--lease-s SECONDS", "And so on: each setting of workd.toml(5) as an option.")
    yield roff.paragraph("Example:" if len(command.examples) == 1 else "Examples:")
    yield roff.lines(command.examples)


def _item(one: Option) -> str:
    names = ", ".join(f"`{name}`" for name in one.names)
    default = f" Default: {one.default}." if one.default else ""
    return roff.item(f"{names} {one.metavar}".rstrip(), f"{_sentence(one.help)}{default}")


def _about_settings() -> Iterator[str]:
    yield roff.section("Name")
    yield r"workd.toml \- settings of the workd daemon"
    yield roff.section("Synopsis")
    yield roff.words(str(settings.DEFAULT_CONFIG))
    yield roff.section("Description")
    yield roff.words(
        "A file of TOML, which `workd run` and the other commands read. Every setting has a default; a name that is"
        " none is an error, as is a value that cannot be. `workd config --check` tells; `workd config --template`"
        " prints a file to begin with; `workd config` prints what is in effect, and where each value comes from."
    )
    yield roff.paragraph(
        "Stronger than the file are the credentials `redis_url` and `signing_keys` that systemd hands over"
        " (LoadCredential=), then the environment (`WORKD_LEASE_S` is `lease_s`), then options (`--lease-s`)."
    )
    yield roff.section("Settings")
    yield from (_setting(name) for name in settings.names())
    yield roff.section("Schedule")
    yield roff.words("Each table `[schedule.NAME]` enqueues a job at certain times. Its fields:")
    yield from (_field(name) for name in Line.model_fields)
    yield roff.section("Example")
    yield roff.lines(
        [
            'modules = ["my_tasks"]',
            'queues = ["urgent", "default"]',
            "workers = 8",
            "drain_s = 60",
            "",
            "[schedule.nightly]",
            'task = "report"',
            'cron = "0 3 * * *"',
            'timezone = "Europe/Berlin"',
        ]
    )
    yield roff.section("See also")
    yield ".BR workd (1),\n.BR systemd.exec (5)"


def _setting(name: str) -> str:
    field = settings.Settings.model_fields[name]
    tag = f"`{name}` = {_value(name, field.annotation)}"
    return roff.item(tag, f"{_sentence(str(field.description))}{_default(field)}")


def _value(name: str, annotation: object) -> str:
    """Say what kind of value a setting takes in TOML."""
    kinds: dict[object, str] = {tuple: "LIST", dict: "TABLE", bool: "true|false"}
    return kinds.get(get_origin(annotation) or annotation) or options.metavar(name, annotation)


def _field(name: str) -> str:
    field = Line.model_fields[name]
    return roff.item(f"`{name}`", f"{_sentence(str(field.description))}{_default(field)}")


def _default(field: FieldInfo) -> str:
    """Say what a field is where nobody says it; nothing where that is nothing, or another on each machine."""
    if field.is_required() or field.default_factory is not None or field.default in ((), {}, "", None):
        return ""
    return f" Default: `{toml.value(field.default)}`."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def main(folder: str) -> int:
    """Write all pages into a folder."""
    for name, page in PAGES.items():
        Path(folder, name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
