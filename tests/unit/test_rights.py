"""The table of rights beside what the scripts call."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from workd.broker import rights, scripts
from workd.broker.scripts import Script

CALL = re.compile(r"(?:redis\.p?call\(|\{)'([A-Z]{3,})'(?:, '([A-Z]+)')?")
CONTAINERS = {"XGROUP", "XINFO", "MEMORY"}
OF_DAEMONS = {script.name for script in vars(scripts).values() if isinstance(script, Script)}


def commands_of(source: str) -> set[str]:
    """Return the commands that a script calls by name, also those that it puts together in a table first."""
    return {f"{name}|{part}".lower() if name in CONTAINERS else name.lower() for name, part in CALL.findall(source)}


def sources(folder: str) -> dict[str, str]:
    found = files("workd").joinpath(folder).iterdir()
    return {path.name.removesuffix(".lua"): path.read_text() for path in found if path.name.endswith(".lua")}


@pytest.mark.parametrize("name", sorted(sources("broker/scripts")))
def test_every_script_calls_only_what_its_role_may(name: str) -> None:
    called = commands_of(sources("broker/scripts")[name])
    assert called
    role: rights.Role = "daemon" if name in OF_DAEMONS else "operator"
    assert called <= rights.COMMANDS[role], f"add them to rights.py: {sorted(called - rights.COMMANDS[role])}"


@pytest.mark.parametrize("name", sorted(sources("client")))
def test_producers_may_call_what_their_scripts_do(name: str) -> None:
    called = commands_of(sources("client")[name])
    role: rights.Role = "client" if name == "cancel" else "producer"
    assert called <= rights.COMMANDS[role], sorted(called - rights.COMMANDS[role])
    assert called <= rights.COMMANDS["client"]


def test_an_operator_may_cancel() -> None:
    assert commands_of(sources("client")["cancel"]) <= rights.COMMANDS["operator"]


def test_a_viewer_may_change_nothing() -> None:
    writes = rights._WRITES | {"blmove", "getdel", "rpush"}
    assert not rights.COMMANDS["viewer"] & writes
    assert [rule for rule in rights.rules("viewer") if rule.startswith("&")] == ["&workd:ask"], "it may ask, not order"


def test_a_server_that_does_not_know_a_command_is_not_told_of_it() -> None:
    assert "+waitaof" in rights.rules("producer")
    assert "+waitaof" not in rights.rules("producer", newer=False)
    begin = ["clearselectors", "resetkeys", "resetchannels", "-@all"]
    assert rights.rules("daemon")[:6] == [*begin, "~workd:*", "&workd:*"]


@pytest.mark.parametrize("role", rights.COMMANDS)
def test_a_role_of_some_queues_names_these_and_no_others(role: rights.Role) -> None:
    words = " ".join(rights.rules(role, queues=("images", "mail")))
    patterns = re.findall(r"~(\S*?)\)?(?:\s|$)", words)
    assert any(pattern.startswith("workd:{images}:") for pattern in patterns)
    assert any(pattern.startswith("workd:{mail}:") for pattern in patterns)
    others = {pattern for pattern in patterns if not pattern.startswith(("workd:{images}:", "workd:{mail}:"))}
    assert others <= {"workd:[a-z]*"}
