"""Flags for settings: each setting is one flag, with its help and default from the settings' own table.

Commands take them as `**flags`, a mapping that `settings.load` reads. Values stay text here: the settings
check them, and their errors name the flag.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from workd import settings

Command = TypeVar("Command", bound=Callable[..., Any])
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="WORKD_CONFIG",
        show_envvar=False,
        metavar="FILE",
        help=f"a TOML file with settings; without it {settings.DEFAULT_CONFIG}, if there is one",
    ),
]
# Named on the command line as arguments; a table of a file; for nobody to read in the list of processes.
_NO_FLAG = frozenset({"modules", "schedule", "signing_keys"})


def settings_flags(*only: str) -> Callable[[Command], Command]:
    """Replace a command's `**flags` by a flag for each setting, or for those in `only`."""
    chosen = only or tuple(name for name in settings.names() if name not in _NO_FLAG)

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
        parameters += [_parameter(name) for name in chosen]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def _parameter(name: str) -> inspect.Parameter:
    field = settings.Settings.model_fields[name]
    is_switch = field.annotation is bool
    shown = "" if is_switch or field.default_factory else f" [{_shown(field.default)}]"
    option = typer.Option(
        settings.flag(name),
        help=f"{field.description}{shown}",
        metavar=None if is_switch else metavar(name, field.annotation),
        show_default=False,
    )
    annotation: Any = Annotated[bool | None, option] if is_switch else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def metavar(name: str, annotation: object) -> str:
    """Say what stands for a setting's value."""
    if name == "workers":
        return "N|auto"
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    return {"s": "SECONDS", "bytes": "BYTES", "url": "URL"}.get(
        name.rpartition("_")[2], "N" if annotation is int else "TEXT"
    )


def _shown(default: object) -> str:
    if isinstance(default, Iterable) and not isinstance(default, str):
        return ",".join(map(str, default))
    return str(default)
