"""The parts of docs/commands.md that the commands themselves say: how each is called, its options, the exit codes.

The page has a place for each, between two comments; what people write around them stays. `make man` fills the places,
and a test compares. Pure, but for `main`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd.cli import catalogue, manual
from workd.exits import MEANINGS

if TYPE_CHECKING:
    from workd.cli.catalogue import Command, Option

_PLACE: Final = re.compile(
    r"(?P<begin><!-- made: (?P<name>[a-z ]+) -->\n)(?P<body>.*?)(?P<end><!-- end -->)", re.DOTALL
)
_COMMON: Final = frozenset({"--config", "--redis-url"})
_EXIT_CODES: Final = "exit codes"


def filled(page: str) -> str:
    """Return the page with all its places filled. ValueError names one for a command that there is not."""
    return _PLACE.sub(lambda match: f"{match['begin']}{block(match['name'])}{match['end']}", page)


def completed(page: str) -> str:
    """Return the page with places for all that there is, filled; new ones come at its end, for a person to move."""
    missing = [name for name in wanted() if name not in places(page)]
    more = [f"\n### workd {name}\n\n<!-- made: {name} -->\n<!-- end -->\n" for name in missing]
    return filled(page + "".join(more))


def places(page: str) -> tuple[str, ...]:
    """List what the page has places for."""
    return tuple(match["name"] for match in _PLACE.finditer(page))


def wanted() -> tuple[str, ...]:
    """List what the page should have places for."""
    return (_EXIT_CODES, *(command.name for command in catalogue.commands()))


def block(name: str) -> str:
    """Write what stands in one place."""
    if name == _EXIT_CODES:
        return exit_codes()
    command = next((one for one in catalogue.commands() if one.name == name), None)
    if command is None:
        raise ValueError(f"docs/commands.md: there is no command {name!r}")
    return _about(command)


def exit_codes() -> str:
    """Write the table of exit codes."""
    rows = [f"| {code.value} | {_cell(meaning)} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows, ""])


def _about(command: Command) -> str:
    own, has_settings = manual.own_options(command)
    shown = [one for one in own if _COMMON.isdisjoint(one.names)]
    rows = [_row(one) for one in (*command.arguments, *shown)]
    if has_settings:
        rows.append("| `--lease-s SECONDS` … | each setting as an option |")
    parts = [
        f"`{manual.usage(command)}`",
        " ".join([command.short, *command.paragraphs]),
        "\n".join(["| | |", "|---|---|", *rows]),
        "\n".join(["```sh", *command.examples, "```"]),
    ]
    return "\n\n".join(parts) + "\n"


def _row(one: Option) -> str:
    names = f"{', '.join(one.names)} {one.metavar}".rstrip()
    default = f" [{one.default}]" if one.default else ""
    return f"| `{_cell(names)}` | {_cell(one.help)}{_cell(default)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(page: str) -> int:
    """Fill the places of a page."""
    path = Path(page)
    path.write_text(completed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
