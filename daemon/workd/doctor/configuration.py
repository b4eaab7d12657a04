"""Whether the settings are right. Asked first, since all other checks are about what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd import settings
from workd.doctor.findings import Finding, note, ok, problem, warning
from workd.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def read(
    flags: Mapping[str, object], config: Path | None, unit: Iterable[settings.Layer] = ()
) -> tuple[settings.Loaded, list[Finding]]:
    """Load the settings as a daemon would, that of a unit with what it brings; if that fails, say why, use defaults."""
    try:
        loaded = settings.load(flags, config, unit)
    except SettingsError as error:
        todo = "mend it: `workd config` with the same --config shows where each value comes from; until then the other"
        return _defaults(), [problem("settings.values", str(error), f"{todo} checks look at the defaults")]
    return loaded, [*told(loaded), *warned(loaded)]


def told(loaded: settings.Loaded) -> list[Finding]:
    """Say where the settings come from."""
    sources = dict.fromkeys(origin for origin in loaded.origins.values() if origin != "default")
    said = f"{len(loaded.origins)} settings, from {', '.join(sources)}" if sources else "all settings are defaults"
    return [ok("settings.values", said)]


def warned(loaded: settings.Loaded) -> list[Finding]:
    """Say what is no error and yet not what anybody meant: unknown variables, queues that do not fit together."""
    todo = "correct the name, or take it out of the environment or the file"
    return [warning("settings.meaning", text, todo) for text in loaded.warnings]


def signatures(chosen: settings.Settings, *, hidden: bool = False) -> Finding:
    """Say whether messages and orders have to be signed; `hidden`: there may be keys that we may not read."""
    if chosen.signing_keys:
        return ok("settings.signatures", f"messages and orders have to be signed, by one of {len(chosen.signing_keys)}")
    if hidden:
        return note("settings.signatures", "the credential signing_keys cannot be read here", "ask again as root")
    if chosen.require_signatures:
        text = "require_signatures is set and there are no signing_keys: a daemon ends at its start"
        return problem("settings.signatures", text, "signing_keys in the file, or as a credential of the unit")
    text = (
        "nothing has to be signed: who may write to its queues in Redis has the daemon run any task with any arguments"
    )
    todo = "where others may write there: signing_keys, and require_signatures so that it never runs without"
    return note("settings.signatures", text, todo)


def _defaults() -> settings.Loaded:
    return settings.Loaded(settings.Settings(), dict.fromkeys(settings.names(), "default"))
