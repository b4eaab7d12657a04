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
    values = {name: json.dumps(value) for name, value in loaded.shown().items()}  # JSON values are TOML values
    if as_json:
        shown = {name: {"value": json.loads(text), "origin": loaded.origins[name]} for name, text in values.items()}
        typer.echo(json.dumps(shown, indent=2))
        return
    width = max(len(f"{name} = {text}") for name, text in values.items())
    for name, text in values.items():
        typer.echo(f"{f'{name} = {text}':<{width}}  # {loaded.origins[name]}")
    for warning in loaded.warnings:
        typer.echo(f"workd: {warning}", err=True)
