"""`workd health` as one of the commands: for the list of them, their manual and the completion of its options.

`workd.__main__` answers `workd health` without this. The options are those of `workd.cli.health`, which is the one to
say what they are, and to act on them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd.cli import health as command

if TYPE_CHECKING:
    import argparse

_OPTIONS = [action for action in command.parser()._actions if action.dest != "help"]  # noqa: SLF001 - argparse tells no other way


def health(**given: Any) -> int:
    """Run the command as it is, with the same words."""
    return command.main([word for action in _OPTIONS for word in _words(action, given[action.dest])])


def _words(action: argparse.Action, value: str | bool | None) -> list[str]:
    if value is None or value is False:
        return []
    return [action.option_strings[0]] if value is True else [action.option_strings[0], value]


def _parameter(action: argparse.Action) -> inspect.Parameter:
    """Make of one of argparse's options one of typer's; a value stays text, argparse checks it."""
    is_switch = action.nargs == 0
    option = typer.Option(*action.option_strings, help=action.help, metavar=_metavar(action), show_default=False)
    annotation: Any = Annotated[bool, option] if is_switch else Annotated[str | None, option]
    default = False if is_switch else None
    return inspect.Parameter(action.dest, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(action: argparse.Action) -> str | None:
    return None if action.nargs == 0 else str(action.metavar)


def _describe() -> None:
    parser = command.parser()
    parameters = [_parameter(action) for action in _OPTIONS]
    health.__doc__ = f"{parser.description}\n\n{parser.epilog}"
    health.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    health.__annotations__ = {one.name: one.annotation for one in parameters}


_describe()
