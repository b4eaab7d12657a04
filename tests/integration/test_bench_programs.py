"""Each bench program runs, with as little work as it takes: what it prints, and what is in its file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.field.measures import MEASURES

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "tests" / "bench"
TIMEOUT_S = 90
TINY = ("--rounds", "1", "--part", "0.01")


def run(program: Path, *arguments: object) -> str:
    """Run a bench program and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ("pool", ("apply_async, no-ops", "map, 1,000,000 ints", "1 MB there and back")),
        ("start", ("first result, forkserver", "first result, spawn", "first result, fork")),
        ("memory", ("PSS of a worker, forkserver", "PSS of a worker, spawn", "PSS of a worker, fork")),
        ("life", ("refill after SIGKILL, busy", "close() and join()", "terminate() and join()")),
        ("redis", ("enqueue, in bulk", "drain, results off", "drain, results stored", "idle daemon, p99")),
    ],
)
def test_bench_prints_a_row_for_each_figure(part: str, rows: tuple[str, ...]) -> None:
    printed = run(BENCH, part, "--quick")
    for row in rows:
        (line, *_) = lines_with(printed, row)
        assert any(character.isdigit() for character in line.removeprefix(row))
    assert lines_with(printed, "missed")  # how many targets were, or that none was


def test_curves_are_kept_beside_those_that_were_measured_before(tmp_path: Path) -> None:
    out = tmp_path / "curves.json"
    out.write_text(json.dumps({"curves": {"idle": {"rounds": 7, "figures": []}}}))
    printed = run(BENCH / "curves", "payloads", "map", *TINY, "--out", out)
    found = json.loads(out.read_text())
    assert found["machine"]["python"]
    assert list(found["curves"]) == ["idle", "map", "payloads"]
    payloads = found["curves"]["payloads"]
    assert (payloads["rounds"], payloads["quick"]) == (1, True)
    drains = [figure for figure in payloads["figures"] if (figure["what"], figure["unit"]) == ("drain", "jobs/s")]
    assert [drain["at"] for drain in drains] == [1, 100, 1000]
    for drain in drains:
        assert 0 < drain["low"] <= drain["median"] <= drain["high"]
    (ratio,) = [figure for figure in found["curves"]["map"]["figures"] if figure["goal"]]
    assert ratio["met"] == (ratio["median"] >= 0.1)
    assert lines_with(printed, "payloads", "drain", "jobs/s")


def test_a_curve_that_is_not_there_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "curves"), "pigs"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 2
    assert "there is no curve pigs" in done.stderr


def test_the_field_has_every_measure_of_workd_without_any_peer(tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    printed = run(BENCH / "field", "--systems", "workd", *TINY, "--out", out)
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["failures"] == []
    assert [system["name"] for system in found["systems"]] == ["workd"]
    assert found["systems"][0]["versions"]["workd"]
    assert {record["measure"] for record in found["records"]} == {measure.name for measure in MEASURES}
    for record in found["records"]:
        assert record["low"] <= record["median"] <= record["high"]
        assert len(record["values"]) == 1
    assert lines_with(printed, "workd", "at least once")


def test_a_peer_without_its_environment_is_named_with_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "field"), "--systems", "huey", "--venvs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 2
    assert "Huey needs" in done.stderr
    assert "make bench-peers" in done.stderr


def test_the_budget_divides_what_supervisor_and_workers_use() -> None:
    printed = run(BENCH / "budget", "--jobs", "4000")
    for title in ("Supervisor", "Workers", "Redis"):
        assert lines_with(printed, title)


def test_a_tree_is_compared_with_its_own_commit() -> None:
    inside = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False)
    if inside.returncode:
        pytest.skip("these files are in no git repository: there is no revision to compare with")
    command = [sys.executable, str(BENCH / "compare"), "HEAD", "memory", "--pairs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines_with(done.stdout, "HEAD", "this tree", "ratio")
