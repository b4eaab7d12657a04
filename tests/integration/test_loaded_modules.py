"""Which modules the processes of a daemon have loaded: what none of them uses, none of them pays for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from support import daemons
from support.daemons import DaemonProcess
from support.servers import Server, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Python imports this by itself. The supervisor tells at its end, the forkserver whenever it makes a worker. A worker
# leaves without a word; the test of theirs is in test_pool_life.
SITECUSTOMIZE = f"""\
import atexit, os, pathlib, sys

def tell():
    path = pathlib.Path(os.environ[{daemons.FOLDER!r}], f"modules-{{os.getpid()}}")
    path.with_suffix(".new").write_text(" ".join(sys.modules))
    path.with_suffix(".new").rename(path)  # a forkserver may be killed while it leaves

atexit.register(tell)
os.register_at_fork(before=tell)
"""
TASKS = "from workd_tasks import task\n\n@task\ndef nothing() -> None: ...\n"
TASKS_THAT_LOG = "import structlog.dev\nassert structlog.dev.rich is not None\n" + TASKS

DRAWING = {"rich", "pygments", "markdown_it"}
HTTP = {"starlette", "uvicorn", "h11", "anyio", "prometheus_client", "workd.metrics", "workd.overview", "workd.webapp"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(valkey_binary()) as server:
        yield server


def loaded(
    server: Server, folder: Path, tasks: str, environment: dict[str, str] | None = None, **settings: object
) -> tuple[set[str], set[str]]:
    """Return what the supervisor and the forkserver of a daemon have loaded from its start to its end."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (folder / "some_tasks.py").write_text(tasks)
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {"PYTHONPATH": path} | (environment or {})
    with DaemonProcess(server.url, folder, modules=("some_tasks",), environment=environment, **settings) as daemon:
        daemon.wait_ready()
        [forkserver_pid] = daemon.forkserver_pids()
        daemon.term()
        assert daemon.wait() == 0
        supervisor, forkserver = (
            set((folder / f"modules-{pid}").read_text().split()) for pid in (daemon.pid, forkserver_pid)
        )
    return supervisor, forkserver


def test_no_process_loads_what_it_does_not_use(server: Server, tmp_path: Path) -> None:
    supervisor, forkserver = loaded(server, tmp_path, TASKS)
    assert {"workd.supervisor", "structlog"} <= supervisor
    assert supervisor & (DRAWING | HTTP | {"workd.pool.child.worker", "workd.client", "some_tasks"}) == set()
    assert {"workd.pool.child.worker", "structlog", "some_tasks"} <= forkserver
    outside = {"redis", "hiredis", "uvloop", "typer", "pydantic_settings", "workd.supervisor", "workd.pool.core"}
    assert forkserver & (DRAWING | HTTP | outside) == set()


def test_health_over_http_is_answered_without_a_library_for_drawing(server: Server, tmp_path: Path) -> None:
    supervisor, forkserver = loaded(server, tmp_path, TASKS, http=f"unix:{tmp_path / 'http.sock'}")
    assert supervisor >= HTTP
    assert supervisor & DRAWING == set()
    assert forkserver & HTTP == set()  # and with it every worker


def test_a_task_module_that_imports_structlog_has_all_of_it(server: Server, tmp_path: Path) -> None:
    _, forkserver = loaded(server, tmp_path, TASKS_THAT_LOG)
    assert "rich" in forkserver


def test_opentelemetry_is_loaded_where_the_environment_asks_for_traces_and_nowhere_else(
    server: Server, tmp_path: Path
) -> None:
    found = {}
    for wanted, environment in ((False, {}), (True, {"OTEL_TRACES_EXPORTER": "console"})):
        folder = tmp_path / str(wanted)
        folder.mkdir()
        _, forkserver = loaded(server, folder, TASKS, environment)
        found[wanted] = {name for name in forkserver if name.startswith(("opentelemetry", "workd.tracing.running"))}
    assert found[False] == set()
    assert {"workd.tracing.running", "opentelemetry.sdk.trace.export"} <= found[True]
