"""The settings file that the command line writes is one that the settings read."""

from __future__ import annotations

import tomllib

import pytest

from workd import settings
from workd.cli import toml


def uncommented(text: str) -> str:
    """The file without the `#` before settings and heads of tables; comments have a blank after theirs."""
    lines = (
        line[1:] if line.startswith("#") and not line.startswith("# ") and line != "#" else line
        for line in text.splitlines()
    )
    return "\n".join(lines)


def test_as_it_is_it_sets_nothing() -> None:
    assert tomllib.loads(toml.template()) == {}


def test_uncommented_it_is_a_valid_file_that_names_every_setting() -> None:
    read = tomllib.loads(uncommented(toml.template()))
    settings.Settings(**read)
    unset = {name for name, field in settings.Settings.model_fields.items() if field.default is None}
    assert set(read) | unset == set(settings.names())


def test_what_is_no_example_is_the_default() -> None:
    read = settings.Settings(**tomllib.loads(uncommented(toml.template())))
    plain = settings.Settings()
    different = {name for name in settings.names() if getattr(read, name) != getattr(plain, name)}
    assert different <= set(toml._EXAMPLES)


@pytest.mark.parametrize("name", settings.names())
def test_each_setting_is_explained(name: str) -> None:
    words = str(settings.Settings.model_fields[name].description).split()
    assert " ".join(words[:4]) in toml.template()


def test_examples_are_of_settings_that_exist() -> None:
    assert set(toml._EXAMPLES) <= set(settings.names())


def test_no_line_is_too_long_to_read() -> None:
    assert [line for line in toml.template().splitlines() if len(line) > 120] == []
