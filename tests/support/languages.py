"""The producers in `docs/producers`, made ready to be run; where a tool is missing, the test says which."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCERS = Path(__file__).parents[2] / "docs" / "producers"
REDIGO = Path("/usr/share/gocode")
RUN_S = 60.0
INSTALL_S = 120.0

Words = list[str]


@dataclass(frozen=True)
class Ended:
    """How a run of a producer has ended."""

    code: int
    said: str
    complained: str

    @property
    def outcome(self) -> dict[str, Any]:
        """What it printed: the outcome of its job."""
        assert self.code in {0, 1}, self.complained
        found: dict[str, Any] = json.loads(self.said)
        return found


@dataclass(frozen=True)
class Producer:
    """A producer that can be run."""

    language: str
    words: Words
    most: int
    """The largest integer that it hands on unchanged."""

    def run(self, url: str, *arguments: str) -> Ended:
        """Run it to its end."""
        done = subprocess.run(
            [*self.words, *arguments],
            env=os.environ | {"REDIS_URL": url},
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


def _need(tools: tuple[str, ...], packages: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} missing: install Debian's {packages}")


def _shell(_: Path) -> Words:
    _need(("redis-cli", "jq"), "redis-tools and jq")
    return [str(PRODUCERS / "shell" / "producer.sh")]


def _node(folder: Path) -> Words:
    _need(("node", "npm"), "nodejs and npm")
    copy = folder / "node"
    shutil.copytree(PRODUCERS / "node", copy, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--omit=dev"]
    done = subprocess.run(install, cwd=copy, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install the package redis: {done.stderr.strip().splitlines()[-1:]}")
    return ["node", str(copy / "producer.mjs")]


def _go(folder: Path) -> Words:
    _need(("go",), "golang-go")
    if not (REDIGO / "src/github.com/gomodule/redigo").exists():
        pytest.skip("redigo missing: install Debian's golang-github-gomodule-redigo-dev")
    made = folder / "producer"
    # As Debian builds: with the packages that apt has installed, and nothing from the network.
    offline = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": str(REDIGO), "GOCACHE": str(folder / "cache")}
    build = ["go", "build", "-o", str(made), str(PRODUCERS / "go" / "producer.go")]
    done = subprocess.run(build, env=os.environ | offline, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [str(made)]


def _php(_: Path) -> Words:
    _need(("php",), "php-cli and php-redis")
    if subprocess.run(["php", "-r", "exit(extension_loaded('redis') ? 0 : 1);"], check=False).returncode:
        pytest.skip("PHP's extension redis missing: install Debian's php-redis")
    return ["php", str(PRODUCERS / "php" / "producer.php")]


def _ruby(_: Path) -> Words:
    _need(("ruby",), "ruby and ruby-redis")
    if subprocess.run(["ruby", "-e", "require 'redis'"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("the gem redis missing: install Debian's ruby-redis")
    return ["ruby", str(PRODUCERS / "ruby" / "producer.rb")]


_MAKERS: dict[str, tuple[Callable[[Path], Words], int]] = {
    "shell": (_shell, 2**100),
    "node": (_node, 2**53 - 1),
    "go": (_go, 2**100),
    "php": (_php, 2**63 - 1),
    "ruby": (_ruby, 2**100),
}
LANGUAGES = tuple(_MAKERS)


def producer(language: str, folder: Path) -> Producer:
    """Make a producer ready in this folder, or skip the test and say what is missing."""
    make, most = _MAKERS[language]
    return Producer(language, make(folder), most)
