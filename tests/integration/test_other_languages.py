"""Producers in other languages, which know docs/protocol.md and nothing of ours, and a real daemon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.languages import LANGUAGES, PRODUCERS, Producer, producer
from support.ports import free_port
from support.servers import Server, valkey_binary
from workd import wire
from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[1] / "vectors" / "messages.json"

both_ways = pytest.mark.parametrize("way", ["key", "stream"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one daemon on it."""
    folder = tmp_path_factory.mktemp("languages")
    with (
        Server(valkey_binary()) as server,
        DaemonProcess(server.url, folder, modules=("workd_tasks.samples", "support.language_tasks")) as daemon,
    ):
        daemon.wait_ready()
        yield server.url
        daemon.term()
        assert daemon.wait() == 0


@pytest.fixture(scope="module", params=LANGUAGES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Producer:
    """Each language's producer in turn."""
    return producer(request.param, tmp_path_factory.mktemp(request.param))


@both_ways
def test_a_job_is_sent_and_its_value_comes_back(program: Producer, way: str, url: str) -> None:
    ended = program.run(url, way, "square", "[4]")
    assert ended.code == 0
    assert ended.outcome["status"] == "succeeded"
    assert ended.outcome["value"] == 16
    assert ended.complained == ""


@both_ways
def test_a_job_that_fails_is_told_from_one_that_returned(program: Producer, way: str, url: str) -> None:
    ended = program.run(url, way, "fail", '["because of this"]')
    assert ended.code == 1
    assert ended.outcome["status"] == "dead"
    assert ended.outcome["error"]["type"] == "ValueError"
    assert ended.outcome["error"]["message"] == "because of this"


@both_ways
@pytest.mark.parametrize(
    "value",
    [
        "Zoë 🦊 \u2028 日本",
        'quotes " and \\ and \n lines \t',
        "<b>&amp;</b> $HOME `id` '",
        {"ключ": [None, True, 1.5, {}]},
    ],
    ids=["unicode", "escapes", "markup", "nested"],
)
def test_any_text_comes_back_as_it_was(program: Producer, way: str, value: object, url: str) -> None:
    assert program.run(url, way, "echo", json.dumps([value], ensure_ascii=False)).outcome["value"] == value


@both_ways
def test_large_integers_come_back_as_they_were(program: Producer, way: str, url: str) -> None:
    sent = [program.most, -program.most]
    ended = program.run(url, way, "echo", json.dumps([sent]))
    assert ended.outcome["value"] == sent


def test_a_job_whose_id_was_there_before_is_a_duplicate_and_its_key_has_the_first_ones_outcome(
    program: Producer, url: str
) -> None:
    name = f"invoice-{program.language}-é"
    assert program.run(url, "stream", "echo", '["first"]', name).outcome["value"] == "first"
    second = program.run(url, "stream", "echo", '["second"]', name)
    assert second.code == 1
    assert (second.outcome["status"], second.outcome["error"]["type"]) == ("cancelled", "duplicate")
    by_key = program.run(url, "key", "echo", '["third"]', name)
    assert (by_key.code, by_key.outcome["id"], by_key.outcome["value"]) == (0, name, "first")


def test_a_server_that_is_not_there_is_told(program: Producer) -> None:
    ended = program.run(f"redis://127.0.0.1:{free_port()}/0", "key", "square", "[4]")
    assert (ended.code, ended.said) == (2, "")
    assert "square: " in ended.complained


def test_what_the_server_refuses_is_told(program: Producer, valkey: Server) -> None:
    with valkey.client() as look:
        look.set(keys.stream("default"), "somebody else's")
    ended = program.run(valkey.url, "key", "square", "[4]")
    assert (ended.code, ended.said) == (2, "")
    assert "WRONGTYPE" in ended.complained


def test_node_builds_every_message_that_is_right(tmp_path: Path) -> None:
    words = producer("node", tmp_path).words
    built = subprocess.run(
        [words[0], str(Path(words[1]).with_name("vectors.mjs")), str(VECTORS)],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    messages = {row["name"]: row["message"] for row in map(json.loads, built.stdout.splitlines())}
    right = [row for row in json.loads(VECTORS.read_text(encoding="utf-8"))["messages"] if "read_as" in row]
    assert len(messages) == len(right) > 10
    for vector in right:
        assert wire.decode(messages[vector["name"]].encode()) == wire.decode(vector["message"].encode()), vector["name"]


def test_no_installed_packages_lie_among_the_producers() -> None:
    assert not list(PRODUCERS.rglob("node_modules"))
