"""`workd run MODULE…`: the daemon."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any

import typer

from workd import log, settings
from workd.cli.options import ConfigFile, settings_flags
from workd.errors import SettingsError
from workd.output.secrets import passwords_in


@settings_flags()
def run(
    context: typer.Context,
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE", help="modules with tasks", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="log lines of JSON, as --log-format json does")] = False,
    config: ConfigFile = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="load code anew when a file changes, for development")
    ] = False,
    **flags: Any,
) -> int:
    """Run the daemon, which runs tasks until SIGTERM.

    Each setting of workd.toml(5) is an option here, too.

    Example: workd run my_tasks --queues images,default --workers 8
    """
    if as_json and flags.get("log_format") is None:
        flags["log_format"] = "json"
    given = {**flags, "modules": tuple(modules or ()) or None}

    def read() -> settings.Settings:
        return _checked(settings.load(given, config).settings)

    loaded = settings.load(given, config)
    chosen = _checked(loaded.settings)
    if reload and find_spec("watchfiles") is None:
        raise SettingsError("--reload", "watchfiles is not installed: pip install 'workd[reload]'")
    log.configure(chosen.log_level, chosen.log_format)
    for warning in loaded.warnings:
        log.get_logger(__name__).warning(warning)

    from workd import supervisor

    return supervisor.run(chosen, read=read, launched=context.obj, watched=reload)


def _checked(chosen: settings.Settings) -> settings.Settings:
    """Return settings that a daemon can run with; `SettingsError` says what is missing."""
    if not chosen.modules:
        raise SettingsError("modules", "no task module is named: workd run MODULE…, or modules = [...] in a file")
    if chosen.require_signatures and not chosen.signing_keys:
        raise SettingsError("signing_keys", "there are none, and require_signatures is set: is a credential missing?")
    log.hide((*passwords_in(chosen.redis_url), *chosen.signing_keys))  # those of a reload, too
    return chosen
