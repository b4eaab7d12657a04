"""The image's steps, carried out by hand: what the Dockerfile builds runs, answers its health check and drains."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.deployed import DEPLOY, ROOT, instructions
from support.ports import free_port
from support.waiting import eventually
from workd import Client

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

DOCKERFILE = instructions(DEPLOY / "docker" / "Dockerfile")
LONG_S = 240.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry out the build stage in a folder; returns what it makes of /opt/workd."""
    if not (ROOT / "daemon").is_dir():
        pytest.skip("these are the tests of the wheel, without the tree")
    folder = tmp_path_factory.mktemp("image")
    opt, work = folder / "opt", folder / "src"
    for one in DOCKERFILE:
        if one.stage != 0:
            continue
        if one.word == "COPY":
            *sources, target = one.rest.split()
            for source in sources:
                _copy(ROOT / source, work / target, as_itself=target == "./")
        elif one.word == "RUN":
            work.mkdir(exist_ok=True)
            command = one.rest.replace("/opt/workd", str(opt))
            _run_or_skip(command, work)
    return opt


def _copy(source: Path, target: Path, *, as_itself: bool) -> None:
    if as_itself:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / source.name)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _run_or_skip(command: str, folder: Path) -> None:
    """Run one step with this interpreter as the image's; without an index there is nothing to build from."""
    shims = folder / ".shims"
    shims.mkdir(exist_ok=True)
    shim = shims / "python"
    base = os.path.realpath(sys.executable)
    shim.write_text(f'#!/bin/sh\nexec {base} "$@"\n')
    shim.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WORKD_", "PYTHON"))}
    environment |= {"PATH": f"{shims}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    if done.returncode and re.search("No matching distribution|NewConnectionError|No module named pip", done.stderr):
        pytest.skip(f"pip has no index here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def last(word: str) -> str:
    return next(one.rest for one in reversed(DOCKERFILE) if one.word == word)


@pytest.mark.timeout(400)
def test_what_the_dockerfile_builds_runs_the_example_answers_its_health_check_and_drains(
    image: Path, redis_server: Server, tmp_path: Path
) -> None:
    shutil.copy2(DEPLOY / "docker" / "tasks" / "shop.py", image / "tasks")
    said = {
        "PATH": f"{image}/bin:/usr/bin:/bin",
        "WORKD_REDIS_URL": redis_server.url,
        "WORKD_MODULES": "shop",
        "WORKD_WORKERS": "1",
        "WORKD_HTTP": f"0.0.0.0:{free_port()}",
        "WORKD_LOG_FORMAT": "json",
    }
    entry: list[str] = json.loads(last("ENTRYPOINT"))
    health: list[str] = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        daemon = subprocess.Popen(
            [str(image / "bin" / entry[0]), *json.loads(last("CMD"))],
            env=said,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    try:

        def healthy() -> bool:
            assert daemon.poll() is None, log.read_text()
            asked = subprocess.run([str(image / "bin" / health[0]), *health[1:]], env=said, check=False, timeout=60)
            return asked.returncode == 0

        eventually(healthy, timeout_s=60)
        with Client(redis_server.url) as client:
            assert client.enqueue("price", 100).get(timeout=60) == 119.0
        daemon.send_signal(signal.Signals[last("STOPSIGNAL")])
        assert daemon.wait(60) == 0
        assert not (image / "bin" / "pip").exists(), "what builds is not what runs"
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
