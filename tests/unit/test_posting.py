"""The way to queues on other nodes of a Cluster, without one."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from workd.broker import posting
from workd.broker.kinship import Post
from workd.broker.link import Link
from workd.broker.posting import Elsewhere

POST = Post("images", "default:j.1", b"{}")


class Node:
    """Stands in for the servers, for a connection and for what connects to it."""

    several = SimpleNamespace(kind="cluster")

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.calls: list[str] = []
        self.breaks = False
        self.closed = False

    async def find(self, queue: str, _timeout_s: float, _name: str) -> Any:
        self.calls.append(f"find {queue}")
        await self.there.wait()
        return None

    async def call(self, *_: object, **__: object) -> bytes:
        self.calls.append("post")
        if self.breaks:
            raise RedisConnectionError("reset")
        return b""

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()

    async def opened(*_: object) -> Node:
        return node

    monkeypatch.setattr(Link, "open", opened)
    monkeypatch.setattr(posting, "PATIENCE_S", 0.01)
    return node


def way_to(node: Node) -> Any:
    return Elsewhere(node, 5.0, "me")  # type: ignore[arg-type]


async def test_a_node_that_does_not_answer_is_in_the_way_at_once_and_is_asked_once(node: Node) -> None:
    way = way_to(node)
    for _ in range(2):
        answers = await asyncio.gather(*(way.post(None, POST, 1) for _ in range(50)))
        assert set(answers) == {"queue images, on another node: there is no connection to it yet"}
    assert node.calls == ["find images"]
    node.there.set()
    assert await asyncio.gather(*(way.post(None, POST, 1) for _ in range(3))) == [""] * 3
    assert node.calls == ["find images", "post", "post", "post"]
    await way.close()
    assert node.closed


async def test_a_connection_that_breaks_is_opened_anew_for_the_next(node: Node) -> None:
    way = way_to(node)
    node.there.set()
    node.breaks = True
    assert (
        await asyncio.gather(*(way.post(None, POST, 1) for _ in range(3)))
        == ["queue images, on another node: reset"] * 3
    )
    node.breaks = False
    node.calls.clear()
    assert await way.post(None, POST, 1) == ""
    assert node.calls == ["find images", "post"]


async def test_what_is_still_being_opened_ends_with_the_session(node: Node) -> None:
    way = way_to(node)
    await way.post(None, POST, 1)
    await way.close()
    await way.close()
    assert len(asyncio.all_tasks()) == 1
