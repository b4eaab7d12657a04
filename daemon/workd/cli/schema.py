"""`workd schema MODULE…`: JSON Schema of the message, the outcome, and every task's arguments and result."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workd import wire
from workd.cli import looking_after as shared
from workd.exits import Exit
from workd_tasks import registry, signature
from workd_tasks.errors import TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence


def schema(
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE", help="modules with tasks", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, as it does anyway")] = False,  # noqa: ARG001
) -> int:
    """Print JSON Schema for messages, outcomes and tasks.

    The modules are imported, from where you stand too.

    Example: workd schema my_tasks > schema.json
    """
    with contextlib.redirect_stdout(sys.stderr):  # what a module prints is not part of the JSON
        load_tasks(modules or [])
        tasks = {name: signature.of(task).json_schema() for name, task in registry.all_tasks().items()}
    whole = {"message": wire.envelope_schema(), "outcome": wire.outcome_schema(), "tasks": tasks}
    shared.echo_json(whole)
    return Exit.OK


def load_tasks(modules: Sequence[str]) -> None:
    """Import task modules as the daemon does, from where one stands too. Raises TaskDefinitionError."""
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: people's tasks are where they stand
    for module in modules:
        try:
            registry.load([module])
        except TaskDefinitionError:
            raise
        except (Exception, SystemExit) as error:
            raise TaskDefinitionError(f"{module} does not import: {type(error).__name__}: {error}") from error
