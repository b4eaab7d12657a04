"""`workd schema MODULE…`: JSON Schema of the message, the outcome, and every task's arguments and result."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workd import wire
from workd_tasks import registry, signature
from workd_tasks.errors import TaskDefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence


def schema(
    modules: Annotated[list[str] | None, typer.Argument(help="modules with tasks", show_default=False)] = None,
) -> None:
    """Print JSON Schema for messages, outcomes and the tasks of MODULES (which are imported)."""
    with contextlib.redirect_stdout(sys.stderr):  # what a module prints is not part of the JSON
        load_tasks(modules or [])
        tasks = {name: signature.of(task).json_schema() for name, task in registry.all_tasks().items()}
    whole = {"message": wire.envelope_schema(), "outcome": wire.outcome_schema(), "tasks": tasks}
    typer.echo(json.dumps(whole, indent=2))


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
