"""The pages about groups, chains and async tasks: their examples run, on a real daemon."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Server

GROUPS, ASYNC = Page("groups.md", "images"), Page("async.md", "pages")


def test_the_examples_of_groups_and_chains_run(valkey: Server, tmp_path: Path) -> None:
    assert len(GROUPS.tasks) + len(GROUPS.producers) == len(GROUPS.blocks)
    GROUPS.write(tmp_path)
    with DaemonProcess(valkey.url, tmp_path, modules=("images",)) as daemon:
        daemon.wait_ready()
        [said] = GROUPS.run(valkey, tmp_path, daemon)
        assert said.splitlines() == ["64", "3 of 3 have ended", "to ops@example.com: 3 succeeded"]


def test_the_examples_of_async_tasks_run(valkey: Server, tmp_path: Path, site: str) -> None:
    assert len(ASYNC.tasks) + len(ASYNC.producers) == len(ASYNC.blocks) - 1  # one is a single line in a sentence
    ASYNC.write(tmp_path)
    with DaemonProcess(valkey.url, tmp_path, modules=("pages",)) as daemon:
        daemon.wait_ready()
        ASYNC.producers = [block.replace("https://example.com", site) for block in ASYNC.producers]
        [said] = ASYNC.run(valkey, tmp_path, daemon)
        assert said == "200\n"
        assert [line["status"] for line in daemon.log("fetched")] == [200] * 100


@pytest.fixture
def site() -> Iterator[str]:
    """Answer every request, on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
