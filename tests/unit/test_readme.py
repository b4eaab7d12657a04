"""What the README says is what the code does."""

import re
from pathlib import Path

import pytest

from workd import settings
from workd.cli import reference
from workd.exits import Exit

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def row(name: str) -> str:
    """The line that the README has for a setting."""
    field = settings.Settings.model_fields[name]
    description = str(field.description)
    if field.default_factory is not None:
        default = "usable cores" if name == "workers" else ""
    elif isinstance(field.default, tuple):
        default = ",".join(field.default)
    else:
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    shown = f"`{default}`" if default and field.default_factory is None else default
    return f"| `{name}` | {shown} | {description} |"


@pytest.mark.parametrize("name", settings.names())
def test_each_setting_is_in_the_table_with_its_default(name: str) -> None:
    assert row(name) in README


def test_the_table_has_no_setting_that_does_not_exist() -> None:
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == settings.names()


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parents[2]
    if not (root / "docs").exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_each_exit_code_is_in_the_table() -> None:
    table = README.partition("| exit code |")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(Exit)
    assert reference.exit_codes() in README
