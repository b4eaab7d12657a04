"""A real Prometheus (Debian's) that scrapes a daemon, for as long as a test lasts."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import urllib.parse
from typing import TYPE_CHECKING, Any, Self

from support.ports import free_port
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

BINARY = shutil.which("prometheus")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_CONFIG = """\
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: workd
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """Scrapes `target` several times a second, evaluates the rules, and answers queries. A context manager."""

    def __init__(self, folder: Path, target: str, rules: Path) -> None:
        """Keep everything in `folder`."""
        self._folder = folder
        self._port = free_port()
        self._config = folder / "prometheus.yml"
        self._config.write_text(_CONFIG.format(target=target, rules=json.dumps(str(rules))))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert BINARY is not None
        flags = {
            "config.file": self._config,
            "storage.tsdb.path": self._folder / "prometheus-data",
            "web.listen-address": f"127.0.0.1:{self._port}",
            "log.level": "warn",
        }
        with (self._folder / "prometheus.log").open("wb") as log:
            command = [BINARY, *(f"--{name}={value}" for name, value in flags.items())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(self._is_ready, START_TIMEOUT_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def ask(self, path: str, **fields: str) -> Any:
        """Return the data of a call of its API; a failure is an assertion with what it said."""
        status, body = self._get(f"/api/v1/{path}?{urllib.parse.urlencode(fields)}")
        answer = json.loads(body)
        assert status == 200, f"{fields}: {answer.get('error')}"
        return answer["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return what a query answers now."""
        result: list[dict[str, Any]] = self.ask("query", query=text)["result"]
        return result

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
