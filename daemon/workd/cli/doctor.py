"""`workd doctor`: what is wrong around a daemon, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson
from workd.cli.options import ConfigFile, settings_flags
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workd.doctor.findings import Finding

_COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "problem": "red"}
_INDENT = " " * 10


@settings_flags("redis_url")
def doctor(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE", help="task modules, if not those of the settings", show_default=False),
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", "-b", help="only warnings and problems")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> int:
    """Look for what is wrong, and say what to do about it.

    Looks at the settings, the units of systemd, files and who may read them, this machine, the task modules (imported
    in a process of their own), the server with its settings and the rights of our user, the daemons and their queues.
    Nothing is changed. Exit code 1: there is a problem; notes and warnings are none. As root it sees most.

    Example: workd doctor

    Example: workd doctor my_tasks --config /etc/workd/images.toml --brief
    """
    from workd.doctor import rounds
    from workd.doctor.findings import Level

    found: list[Finding] = []
    for one in rounds.examine(flags, config, modules or ()):
        if not (as_json or (brief and one.level in {Level.OK, Level.NOTE})):
            _print(one, heading=not found or found[-1].area != one.area)
        found.append(one)
    counts = {level.value: sum(one.level is level for one in found) for level in Level}
    if as_json:
        shared.echo_json({"findings": _as_json(found), "counts": counts})
    else:
        _sum_up(counts, found)
    return Exit.FAILURE if rounds.worst(found) is Level.PROBLEM else Exit.OK


def _print(one: Finding, *, heading: bool) -> None:
    if heading:
        typer.echo(f"{one.area}:")
    colour = _COLOURS[one.level] if sys.stdout.isatty() else None
    typer.echo(
        f"  {typer.style(one.level.value.ljust(7), fg=colour) if colour else one.level.value.ljust(7)} ", nl=False
    )
    shared.say(_flat(one.said))
    if one.todo:
        shared.say(f"{_INDENT}-> {_flat(one.todo)}")


def _flat(text: str) -> str:
    return " ".join(text.split())


def _as_json(found: Iterable[Finding]) -> list[dict[str, str]]:
    return [{"check": one.check, "level": one.level.value, "said": one.said, "todo": one.todo} for one in found]


def _sum_up(counts: dict[str, int], found: Sequence[Finding]) -> None:
    told = [
        f"{number} {level}{'s' if number != 1 else ''}" for level, number in counts.items() if level != "ok" and number
    ]
    typer.echo(f"{len(found)} things looked at: {', '.join(told) or 'all is well'}")
