"""Settings as TOML: one value in one line, and the file with every setting that `workd config --template` prints.

Made from the settings' own table, so that a new setting is in the file without anybody writing it there. Pure.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from workd import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_WIDTH: Final = 100
_HEAD: Final = f"""\
# Settings of workd, read from {settings.DEFAULT_CONFIG} or the file that --config names.
#
# Every setting is here, commented out, with its default, or with an example where the default is "none".
# Stronger than this file are systemd's credentials, then the environment (WORKD_LEASE_S is lease_s), then flags.
# Check it with: workd config --check --config FILE. What is in effect: workd config. More: man workd.toml
"""
_WARNING: Final = "A secret: let only the daemon's user read this file, or hand it over as a systemd credential."
_EXAMPLES: Final[dict[str, object]] = {
    "modules": ["my_tasks"],
    "queue_weights": {"urgent": 6, "bulk": 1},
    "workers": 4,
    "signing_keys": ["16-or-more-random-bytes"],
    "schedule": {"nightly": {"task": "report", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}},
}
"""For settings whose default shows nobody how they are written."""


def value(of: object) -> str:
    """Write plain data as TOML in one line: as JSON, but for tables, and for null, which it has not."""
    match of:
        case dict():
            pairs = (
                f"{json.dumps(key, ensure_ascii=False)} = {value(item)}" for key, item in of.items() if item is not None
            )
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(value(item) for item in of)}]"
        case _:
            return json.dumps(of, ensure_ascii=False)  # TOML knows no surrogates


def template() -> str:
    """Return a settings file in which everything is a comment. Uncommented, each line is valid."""
    fields = settings.Settings.model_fields
    flat = (text for name, field in fields.items() if name != "schedule" for text in _block(name, field))
    tables = _block("schedule", fields["schedule"])  # last: what follows the head of a table belongs to it
    return "\n".join([_HEAD, *flat, *tables])


def example(name: str) -> object:
    """Return what a setting may look like: its default, or an example."""
    return _EXAMPLES.get(name, settings.Settings.model_fields[name].default)


def _block(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the lines of one setting: what it means, and itself."""
    choices = f" ({', '.join(get_args(field.annotation))})" if get_origin(field.annotation) is Literal else ""
    yield from textwrap.wrap(f"{field.description}{choices}", _WIDTH, initial_indent="# ", subsequent_indent="# ")
    if name in settings.SECRETS:
        yield f"# {_WARNING}"
    shown = example(name)
    if name == "schedule" and isinstance(shown, dict):
        yield from _tables(shown)
    elif shown is None:  # TOML has no word for it
        yield f"# ({name} is not set by default)"
    else:
        yield f"#{name} = {value(shown)}"
    yield ""


def _tables(lines: dict[str, dict[str, object]]) -> Iterator[str]:
    for name, line in lines.items():
        yield f"#[schedule.{name}]"
        yield from (f"#{key} = {value(item)}" for key, item in line.items())
