"""All commands as data: what each is called, takes and says of itself. For the manual, docs/commands.md and the tests.

Read from typer's own tree, so that nothing about a command is written in two places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLE: Final = "Example: "


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument; `metavar` is what stands for its value."""

    names: tuple[str, ...]
    metavar: str
    help: str
    default: str
    is_switch: bool
    required: bool
    repeated: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `path` is what is typed after `workd`. `examples` are whole command lines."""

    path: tuple[str, ...]
    short: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        """What is typed after `workd`, in one word for people."""
        return " ".join(self.path)


@dataclass(frozen=True, slots=True)
class Group:
    """Commands with a first word in common."""

    path: tuple[str, ...]
    short: str


def tree() -> Any:
    """Make typer's tree of commands; of type Any, since it was click's before typer had its own."""
    from workd.cli import app

    return typer.main.get_command(app.app)


def entries() -> tuple[Command | Group, ...]:
    """List all commands in the order of the help, each group before its own."""
    return tuple(_walk(tree(), ()))


def commands() -> tuple[Command, ...]:
    """List what can be called."""
    return tuple(one for one in entries() if isinstance(one, Command))


def global_options() -> tuple[Option, ...]:
    """List the options of `workd` itself."""
    return tuple(_option(param) for param in tree().params if not param.hidden)


def _walk(node: Any, path: tuple[str, ...]) -> Iterator[Command | Group]:
    children = getattr(node, "commands", None)
    if children is None:
        yield _command(node, path)
        return
    if path:
        yield Group(path, node.help or "")
    for name, child in children.items():
        if not child.hidden:
            yield from _walk(child, (*path, name))


def _command(node: Any, path: tuple[str, ...]) -> Command:
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", (node.help or "").strip())]
    arguments = [_option(param) for param in node.params if param.param_type_name == "argument"]
    options = [_option(param) for param in node.params if param.param_type_name == "option" and not param.hidden]
    return Command(
        path=path,
        short=paragraphs[0],
        paragraphs=tuple(part for part in paragraphs[1:] if not part.startswith(_EXAMPLE)),
        examples=tuple(part.removeprefix(_EXAMPLE) for part in paragraphs if part.startswith(_EXAMPLE)),
        arguments=tuple(arguments),
        options=tuple(one for one in options if "--help" not in one.names),
    )


def _option(param: Any) -> Option:
    is_argument = param.param_type_name == "argument"
    return Option(
        names=((param.metavar or param.name.upper()).strip("[]"),)
        if is_argument
        else tuple(sorted(param.opts, key=len)),
        metavar="" if is_argument or param.is_flag else param.metavar or param.name.upper(),
        help=" ".join((param.help or "").split()),
        default="" if is_argument or param.is_flag else _default(param),
        is_switch=not is_argument and bool(param.is_flag),
        required=bool(param.required),
        repeated=param.nargs == -1 or bool(param.multiple),
    )


def _default(param: Any) -> str:
    shown = param.default
    if not param.show_default or shown is None or shown == "" or callable(shown):
        return ""
    return f"{shown:g}" if isinstance(shown, float) else str(getattr(shown, "value", shown))
