"""Which dead letters a command is about: six options that become one value.

Commands take a parameter `chosen: Filter` and are decorated with `filtered`; their help, and what typer hands over, is
made here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from workd.cli import looking_after as shared

if TYPE_CHECKING:
    from workd.client.dead_letters import Where

Command = TypeVar("Command", bound=Callable[..., int])

REASONS = "invalid, unknown-task, failed, crashed, timeout, rejected, too-large or bad-signature"


@dataclass(frozen=True, slots=True)
class Filter:
    """What was said of the letters, as it was typed; those that are wanted fit all of it."""

    reason: Annotated[str, typer.Option(metavar="REASON", help=REASONS)] = ""
    task: Annotated[str, typer.Option(metavar="TASK", help="the task's name")] = ""
    id: Annotated[str, typer.Option(metavar="ID", help="the job's id")] = ""
    error: Annotated[str, typer.Option(metavar="TEXT", help="what the error contains")] = ""
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="died since: 2h (ago), 2030-01-31T15:00 or epoch seconds")
    ] = None
    until: Annotated[str | None, typer.Option(metavar="TIME", help="died until then")] = None

    @property
    def chooses(self) -> bool:
        """Say whether anything was said at all."""
        return any(astuple(self))

    def where(self) -> Where:
        """Return it as the client takes it. Raises BadParameter for a time, InvalidJobError for all else."""
        from workd.client.dead_letters import Where

        since, until = shared.moment(self.since), shared.moment(self.until)
        return Where(reason=self.reason, task=self.task, id=self.id, text=self.error, since=since, until=until)


_NAMES = tuple(field.name for field in fields(Filter))


def filtered(command: Command) -> Command:
    """Replace a command's `chosen` by the options of `Filter`."""
    parameters = []
    for own in inspect.signature(command, eval_str=True).parameters.values():
        parameters += _options() if own.name == "chosen" else [own]

    @functools.wraps(command)
    def called(**given: Any) -> int:
        return command(chosen=Filter(**{name: given.pop(name) for name in _NAMES}), **given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called  # type: ignore[return-value]


def _options() -> list[inspect.Parameter]:
    own = inspect.signature(Filter, eval_str=True).parameters.values()
    return [one.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for one in own]
