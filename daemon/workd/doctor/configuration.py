"""Whether the settings are right. Asked first, since all other checks are about what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workd import settings
from workd.doctor.findings import Finding, ok, problem, warning
from workd.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read(flags: Mapping[str, object], config: Path | None) -> tuple[settings.Loaded, list[Finding]]:
    """Load the settings as a daemon would; where that fails, say why and go on with the defaults."""
    try:
        loaded = settings.load(flags, config)
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


def _defaults() -> settings.Loaded:
    return settings.Loaded(settings.Settings(), dict.fromkeys(settings.names(), "default"))
