"""deploy/docker: the Dockerfile's rules, the compose file against its schema, and both against the tree."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from typing import Any

import pytest

from support.deployed import DEPLOY, ROOT, documents, faults, instructions, seconds
from workd import settings

FOLDER = DEPLOY / "docker"
DOCKERFILE = instructions(FOLDER / "Dockerfile")
LAST = max(one.stage for one in DOCKERFILE)
[COMPOSE] = documents(FOLDER / "compose.yaml")


def of_image(word: str) -> list[str]:
    """Return what the last stage says with this word: what the image is."""
    return [one.rest for one in DOCKERFILE if one.word == word and one.stage == LAST]


def copied_from_the_tree() -> list[str]:
    copies = [one.rest for one in DOCKERFILE if one.word == "COPY" and not one.rest.startswith("--from=")]
    return [source for copy in copies for source in copy.split()[:-1]]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for text in of_image("ENV") for pair in shlex.split(text))


# ── the image ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_a_small_base_of_a_version_that_is_named() -> None:
    bases = [one.rest.split()[0] for one in DOCKERFILE if one.word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1, "a virtual environment works with the interpreter that it was made with"
    assert re.fullmatch(r"python:\$\{PYTHON_VERSION\}-slim-\w+", bases[0])


def test_what_is_copied_is_not_kept_from_the_builder() -> None:
    let_in = {
        line[1:]
        for line in (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    assert {source.rstrip("/") for source in copied_from_the_tree()} == let_in


@pytest.mark.skipif(not (ROOT / "daemon").is_dir(), reason="these are the tests of the wheel, without the tree")
def test_what_is_copied_is_there_and_is_all_that_a_wheel_is_made_of() -> None:
    sources = copied_from_the_tree()
    assert all((ROOT / source).exists() for source in sources)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for needed in re.findall(r'^(?:readme|license-files) = \[?"([^"]+)"', project, re.MULTILINE):
        assert needed in sources
    packages = re.search(r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = (\[.*\])", project)
    assert packages
    assert all(f"{path.split('/')[0]}/" in sources for path in ast.literal_eval(packages[1]))


def test_it_runs_as_nobody_in_particular_and_hears_signals_itself() -> None:
    assert of_image("USER") == ["10001:10001"], "by number, or Kubernetes cannot see that it is not root"
    assert of_image("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(of_image("ENTRYPOINT")[0]) == ["workd"], "no shell that would keep the signals"
    assert json.loads(of_image("CMD")[0]) == ["run"]


def test_its_health_check_is_a_command_of_workds_that_imports_no_task() -> None:
    [check] = of_image("HEALTHCHECK")
    options, _, command = check.partition("CMD ")
    assert json.loads(command)[:2] == ["workd", "health"]
    assert set(re.findall(r"--([\w-]+)=", options)) == {"interval", "timeout", "start-period", "retries"}


def test_its_environment_is_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {name: value for name, value in environment().items() if name.startswith("WORKD_")}
    assert set(ours) <= {settings.variable(name) for name in settings.names()}
    for variable, value in ours.items():
        monkeypatch.setenv(variable, value)
    assert settings.load({}, None).settings.http.rpartition(":")[2] == of_image("EXPOSE")[0]


# ── the compose file ────────────────────────────────────────────────────────────────────────────────────────────────


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = COMPOSE["services"][name]
    return found


def test_the_schema_of_compose_knows_every_field() -> None:
    assert faults(COMPOSE, "compose.json") == []
    wrong = {**COMPOSE, "services": {"daemon": {**service("daemon"), "stop_grace": "45s"}}}
    assert any("stop_grace" in fault for fault in faults(wrong, "compose.json"))


@pytest.mark.parametrize("name", ["daemon", "producer"])
def test_its_environment_is_of_settings_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, str] = service(name)["environment"]
    assert set(said) <= {settings.variable(one) for one in settings.names()}
    for variable, value in said.items():
        monkeypatch.setenv(variable, value)
    loaded = settings.load({}, None).settings
    assert loaded.redis_url == "redis://valkey:6379/0"
    assert "valkey" in COMPOSE["services"]


def test_a_stop_waits_longer_than_the_drain() -> None:
    assert seconds(service("daemon")["stop_grace_period"]) > float(service("daemon")["environment"]["WORKD_DRAIN_S"])


def test_the_server_keeps_jobs_on_disk_and_deletes_none() -> None:
    words = service("valkey")["command"]
    told = dict(zip(words[1::2], words[2::2], strict=True))
    assert told["--appendonly"] == "yes"
    assert told["--maxmemory-policy"] == "noeviction"
    assert service("valkey")["volumes"] == ["jobs:/data"]
    assert "jobs" in COMPOSE["volumes"]
    assert "ports" not in service("valkey"), "it has no password"


def test_every_file_that_is_mounted_or_built_from_is_there() -> None:
    for one in COMPOSE["services"].values():
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (FOLDER / source).exists(), source
    build = service("daemon")["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]) == FOLDER / "Dockerfile"
    tasks = [volume.split(":")[1] for volume in service("daemon")["volumes"]]
    assert tasks == ["/opt/workd/tasks"]
    assert (FOLDER / "tasks" / f"{service('daemon')['environment']['WORKD_MODULES']}.py").exists()


@pytest.mark.parametrize("name", ["daemon", "producer"])
def test_containers_may_do_nothing_that_they_need_not(name: str) -> None:
    assert service(name)["read_only"] is True
    assert service(name)["cap_drop"] == ["ALL"]
    assert service(name)["security_opt"] == ["no-new-privileges:true"]


def test_the_programs_of_the_example_are_no_scripts_that_somebody_could_start_by_accident() -> None:
    assert not os.access(FOLDER / "producer.py", os.X_OK)
