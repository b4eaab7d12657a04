"""Lines of a schedule: what is to be enqueued when, as people write it, and the fire times that follow. Pure.

Read by the settings, which refuse a line that is wrong or never fires; asked by `cron` and by `workd schedule`. Fire
times are whole epoch seconds. What an expression means is cronsim's business, which does as Debian's cron does; it is
imported when there is a line to read.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from datetime import UTC, datetime, tzinfo
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from workd import wire
from workd.errors import InvalidMessageError
from workd_tasks.errors import TaskDefinitionError
from workd_tasks.options import QUEUE_RULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME_RULE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,95}")
CatchUp = Literal["none", "last", "all"]

_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIRST_WINDOW_S: Final = 64
_MAX_EXPIRES_S: Final = 366 * 86_400


def zone_of(name: str) -> tzinfo:
    """Return a time zone; ValueError if there is none of that name here."""
    if name == "UTC":  # known without a database of zones
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        hint = "write it as Europe/Berlin; on a small system, is the package tzdata there?"
        raise ValueError(f"there is no time zone {name!r} here: {hint}") from None


class Times:
    """When an expression fires, in a time zone."""

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        """Read it. ValueError says what is wrong, or that it never fires."""
        from cronsim import CronSim, CronSimError

        self._cronsim = CronSim
        self._expression = _NICKNAMES.get(expression.strip().lower(), expression)
        self._zone = zone_of(timezone)
        try:
            first = self.after(0)
        except CronSimError as error:
            raise ValueError(f"{expression!r} is no cron line, or never fires: {error}") from None
        if first is None:
            raise ValueError(f"{expression!r} never fires (in fifty years)")

    def following(self, epoch_s: int) -> Iterator[int]:
        """Yield the fire times after this one, for fifty years without any."""
        last_s = epoch_s
        for moment in self._cronsim(self._expression, datetime.fromtimestamp(epoch_s, self._zone)):
            at_s = int(moment.timestamp())
            if at_s > last_s:  # where clocks are set back, an hour comes twice and cronsim names its first
                yield at_s
                last_s = at_s

    def after(self, epoch_s: int) -> int | None:
        """Return the first fire time after this one; None if there is none in fifty years."""
        return next(self.following(epoch_s), None)

    def latest(self, after_s: int, until_s: int, most: int) -> list[int]:
        """Return the last `most` fire times after the one and up to the other, the earliest first.

        Looks back in growing steps: after a year's outage nobody counts a year's seconds.
        """
        window_s = _FIRST_WINDOW_S
        while True:
            start_s = max(after_s, until_s - window_s)
            upto = takewhile(lambda at_s: at_s <= until_s, self.following(start_s))
            found = deque(upto, maxlen=most)
            if len(found) == most or start_s == after_s:
                return list(found)
            window_s *= 4


@cache
def times_of(expression: str, timezone: str) -> Times:
    """Return the times of an expression, read once."""
    return Times(expression, timezone)


def _checked_timezone(name: str) -> str:
    zone_of(name)
    return name


class Line(BaseModel):
    """One line of the schedule: a task, its arguments, and when it is to be enqueued."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: wire.TaskName = Field(description="name of the task")
    cron: str = Field(description="five fields (minute hour day month weekday), six with seconds first, or @daily")
    args: tuple[Any, ...] = Field(default=(), description="positional arguments")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments by name")
    timezone: Annotated[str, AfterValidator(_checked_timezone)] = Field(
        default="UTC", description="in which the fields are read"
    )
    queue: Annotated[str, StringConstraints(pattern=f"^(?:{QUEUE_RULE.pattern})$")] | None = Field(
        default=None, description="where to enqueue; else the task's own queue"
    )
    catch_up: CatchUp = Field(default="last", description="what to do about fire times that were missed")
    catch_up_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description='with catch_up = "all": so many of them, the latest'
    )
    overlap: bool = Field(default=True, description="enqueue also while the job of a former fire time has not ended")
    expires_s: Annotated[float, Field(gt=0, le=_MAX_EXPIRES_S)] | None = Field(
        default=None, description="expired if it has not started so long after its fire time"
    )
    enabled: bool = Field(default=True, description="false: does not fire")

    @model_validator(mode="after")
    def _can_fire(self) -> Line:
        times_of(self.cron, self.timezone)
        try:
            wire.decode(self.message("line", 0))
        except InvalidMessageError as error:
            raise ValueError("; ".join(error.details)) from None
        return self

    @property
    def times(self) -> Times:
        """When it fires."""
        return times_of(self.cron, self.timezone)

    @property
    def fingerprint(self) -> str:
        """A word that changes when the fire times do."""
        return hashlib.sha256(f"{self.cron} {self.timezone}".encode()).hexdigest()[:12]

    def message(self, name: str, at_s: int) -> bytes:
        """Return the message of one fire time; its id is the same whoever enqueues it.

        Raises InvalidMessageError for arguments that are no JSON.
        """
        fields: dict[str, Any] = {"task": self.task, "id": job_id(name, at_s), "meta": {"cron": name}}
        if self.args:
            fields["args"] = self.args
        if self.kwargs:
            fields["kwargs"] = self.kwargs
        if not self.overlap:
            fields["unique"] = f"cron:{name}"
        if self.expires_s is not None:
            fields["expires_at"] = at_s + self.expires_s
        return wire.encode(wire.Envelope(**fields))


def job_id(name: str, at_s: int) -> str:
    """Return the id of the job of one fire time: `cron:nightly:2030-01-31T03:00:00Z`."""
    return f"cron:{name}:{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def lines_of_tasks(catalogue: Mapping[str, Mapping[str, Any]]) -> dict[str, Line]:
    """Return the lines that `@task(cron=...)` asks for, each under its task's name. Raises TaskDefinitionError."""
    return {name: _line_of(name, options) for name, options in catalogue.items() if options.get("cron") is not None}


def _line_of(task: str, options: Mapping[str, Any]) -> Line:
    if NAME_RULE.fullmatch(task) is None:
        raise TaskDefinitionError(f"task {task!r}: option cron: its name is too long for a schedule: use name=")
    try:
        return Line(task=task, cron=options["cron"], timezone=options.get("timezone", "UTC"))
    except ValidationError as error:
        told = "; ".join(wire.describe(error)).replace("Value error, ", "")
        raise TaskDefinitionError(f"task {task!r}: option cron: {told}") from None
