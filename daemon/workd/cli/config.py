"""`workd config`: the settings that `workd run` would use, and where each comes from. Secrets are masked."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workd import settings
from workd.cli import looking_after as shared
from workd.cli import toml
from workd.cli.options import ConfigFile, settings_flags
from workd.exits import Exit


@settings_flags()
def config(
    config: ConfigFile = None,
    template: Annotated[
        bool, typer.Option("--template", help="print a file with every setting, commented out, and its meaning")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="print nothing but what is wrong")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    **flags: Any,
) -> int:
    """Print the effective settings as TOML, each with its origin.

    Exit code 3: one is wrong. With --check exit code 1 says that no value is wrong, but something is not what it
    seems, such as a variable WORKD_… that is no setting.

    Example: workd config --template > workd.toml

    Example: workd config --check --config workd.toml
    """
    if template:
        _print_template(as_json=as_json)
        return Exit.OK
    loaded = settings.load(flags, config)
    if as_json:
        _print_json(loaded)
    elif not check:
        _print_toml(loaded)
    for warning in loaded.warnings:
        typer.echo(f"workd: {warning}", err=True)
    return Exit.FAILURE if check and loaded.warnings else Exit.OK


def _print_template(*, as_json: bool) -> None:
    """Print the file, or the settings' own table as JSON."""
    if not as_json:
        typer.echo(toml.template(), nl=False)
        return
    fields = settings.Settings.model_fields.items()
    shared.echo_json({name: {"meaning": field.description, "example": toml.example(name)} for name, field in fields})


def _print_json(loaded: settings.Loaded) -> None:
    shared.echo_json({name: {"value": value, "origin": loaded.origins[name]} for name, value in loaded.shown().items()})


def _print_toml(loaded: settings.Loaded) -> None:
    values = {name: toml.value(value) for name, value in loaded.shown().items()}
    width = max(len(f"{name} = {text}") for name, text in values.items())
    for name, text in values.items():
        typer.echo(f"{f'{name} = {text}':<{width}}  # {loaded.origins[name]}")
