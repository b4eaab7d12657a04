"""`workd schedule …`: which jobs are enqueued when."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd import settings
from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.errors import ClientError
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd.crontab import Line

Modules = Annotated[
    list[str] | None,
    typer.Option("--tasks", metavar="MODULE", help="the lines of these modules' tasks too, which are imported"),
]

app = typer.Typer(help="Look at the schedule.", rich_markup_mode=None)

_DEFAULT_QUEUE = "default"


@app.command("list")
def list_lines(
    tasks: Modules = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """List the lines of the schedule, and when each fires.

    Example: workd schedule list --config /etc/workd/workd.toml
    """
    loaded = settings.load({"redis_url": redis_url}, config).settings
    lines = _lines(loaded, tasks)
    last = _last_fired(loaded.redis_url, lines)
    now_s = int(time.time())
    nexts = {name: line.times.after(now_s) if line.enabled else None for name, line in lines.items()}
    if as_json:
        shared.echo_json([_as_json(name, line, last.get(name), nexts[name]) for name, line in lines.items()])
        return Exit.OK
    rows = [
        (
            name,
            line.cron,
            line.timezone,
            line.task,
            line.queue or "(the task's)",
            line.catch_up,
            _shown(last.get(name)),
            _shown(nexts[name]) if line.enabled else "(off)",
        )
        for name, line in lines.items()
    ]
    shared.table(("NAME", "CRON", "ZONE", "TASK", "QUEUE", "CATCH UP", "UP TO", "NEXT"), rows)
    return Exit.OK


@app.command("next")
def next_fires(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="that line alone", show_default=False)] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, metavar="N", help="so many")] = 10,
    tasks: Modules = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Show the next fire times of the schedule, or of one line.

    Asks no Redis.

    Example: workd schedule next nightly --count 3
    """
    lines = _lines(settings.load({}, config).settings, tasks)
    if name is not None and name not in lines:
        known = ", ".join(lines) or "none at all"
        raise typer.BadParameter(f"there is no line {name!r} in the schedule; there are: {known}")
    chosen = {name: lines[name]} if name is not None else {key: line for key, line in lines.items() if line.enabled}
    now_s = int(time.time())
    soonest = {key: itertools.islice(line.times.following(now_s), count) for key, line in chosen.items()}
    fires = sorted((at_s, key) for key, times in soonest.items() for at_s in times)[:count]
    if as_json:
        shared.echo_json([{"name": key, "at": at_s, "at_utc": _utc(at_s)} for at_s, key in fires])
        return Exit.OK
    rows = [(_shown(at_s), _in_zone(at_s, lines[key].timezone), key, lines[key].task) for at_s, key in fires]
    shared.table(("HERE", "IN ITS ZONE", "NAME", "TASK"), rows)
    return Exit.OK


def _lines(loaded: settings.Settings, modules: list[str] | None) -> Mapping[str, Line]:
    """Return the lines of the settings, and those of the tasks in `modules` that have no such name."""
    if not modules:
        return loaded.schedule
    from workd.cli.schema import load_tasks
    from workd.crontab import lines_of_tasks
    from workd_tasks import registry

    with contextlib.redirect_stdout(sys.stderr):
        load_tasks(modules)
    catalogue = registry.catalogue()
    queues = {name: str(options["queue"]) for name, options in catalogue.items()}
    lines = {**lines_of_tasks(catalogue), **loaded.schedule}
    known = {name: line.queue or queues.get(line.task) for name, line in lines.items()}
    return {name: line.model_copy(update={"queue": known[name]}) for name, line in lines.items()}


def _last_fired(url: str, lines: Mapping[str, Line]) -> dict[str, int]:
    """Ask Redis up to when each line is done; where it is away, say so and go on without."""
    from workd.client.admin import Admin

    queues = sorted({line.queue or _DEFAULT_QUEUE for line in lines.values()})
    try:
        with Admin(url) as admin:
            found = [admin.queues.fired(queue) for queue in queues]
    except ClientError as error:
        shared.note(str(error))
        return {}
    return {name: at_s for marks in found for name, at_s in marks.items()}


def _as_json(name: str, line: Line, last_s: int | None, next_s: int | None) -> dict[str, Any]:
    return {"name": name, **line.model_dump(mode="json"), "up_to": last_s, "next": next_s}


def _shown(at_s: int | None) -> str:
    return "-" if at_s is None else shared.local(at_s)


def _in_zone(at_s: int, zone: str) -> str:
    from workd.crontab import zone_of

    return datetime.fromtimestamp(at_s, zone_of(zone)).isoformat(sep=" ", timespec="seconds")


def _utc(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
