"""docs/clients.md says what is there: every method, option and exception of a producer, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from workd import errors
from workd.client.async_client import AsyncClient
from workd.client.message import Options
from workd.client.redis_pool import RedisPool
from workd.client.sync import Client

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")


def public(of: type) -> set[str]:
    """List the methods that people call; `draft` is the package's own."""
    return {name for name, _ in inspect.getmembers(of, inspect.isfunction) if not name.startswith("_")} - {"draft"}


def test_the_tree_of_exceptions_is_the_one_that_there_is() -> None:
    drawn = set(re.findall(r"[├└]── (\w+Error)", PAGE)) - {"SettingsError", "ClientError"}
    there = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ClientError)}
    assert drawn == there - {"ClientError"}


@pytest.mark.parametrize("name", sorted(Options.__annotations__))
def test_each_option_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_arguments_of_a_client_are_those_that_are_shown(kind: Callable[..., object]) -> None:
    shown = re.search(r"^Client\(url, (.*)\)$", PAGE, re.MULTILINE)
    assert shown is not None
    parameters = inspect.signature(kind).parameters.values()
    said = ", ".join(f"{p.name}={p.default!r}" for p in parameters if p.kind is p.KEYWORD_ONLY)
    assert shown[1].replace('"', "'") == said


def test_both_kinds_of_client_have_the_same_methods() -> None:
    assert public(Client) == public(AsyncClient)


@pytest.mark.parametrize("kind", [Client, RedisPool])
def test_each_method_is_named(kind: type) -> None:
    assert {name for name in public(kind) if not re.search(rf"`{name}[`(]", PAGE)} == set()
