"""`workd config`: the settings that `workd run` would use, and where each comes from. Secrets are masked."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from workd import settings
from workd.cli.options import ConfigFile, settings_flags


@settings_flags()
def config(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    **flags: Any,
) -> None:
    """Print the effective settings as TOML, each with its origin."""
    loaded = settings.load(flags, config)
    if as_json:
        shown = {name: {"value": value, "origin": loaded.origins[name]} for name, value in loaded.shown().items()}
        typer.echo(json.dumps(shown, indent=2))
        return
    values = {name: _toml(value) for name, value in loaded.shown().items()}
    width = max(len(f"{name} = {text}") for name, text in values.items())
    for name, text in values.items():
        typer.echo(f"{f'{name} = {text}':<{width}}  # {loaded.origins[name]}")
    for warning in loaded.warnings:
        typer.echo(f"workd: {warning}", err=True)


def _toml(value: object) -> str:
    """Write plain data as TOML in one line: as JSON, but for tables, and for null, which it has not."""
    match value:
        case dict():
            pairs = (
                f"{json.dumps(key, ensure_ascii=False)} = {_toml(item)}"
                for key, item in value.items()
                if item is not None
            )
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case _:
            return json.dumps(value, ensure_ascii=False)  # TOML knows no surrogates
