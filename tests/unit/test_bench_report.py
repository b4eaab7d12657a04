"""The report: every goal has its line, a missed one wants a reason, and no figure of the pages is typed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the plots are drawn with matplotlib, which the extra dev installs")

from bench.field import report as terminal
from bench.report import __main__ as report
from bench.report import curves, peers, scaling
from bench.report.goals import UNEXPLAINED, UNMEASURED, Verdict
from bench.report.notes import Notes

DOCS = Path(__file__).parents[2] / "docs"

PEERS = """
{
 "version": 1,
 "machine": {"cores": "2", "server": "Redis 7.0.15"},
 "workers": 2,
 "systems": [
  {"name": "workd", "title": "workd", "delivery": "at least once", "settings": "defaults", "jobs": 100,
   "cpu_jobs": 40, "versions": {"workd": "0.1.0"}},
  {"name": "huey", "title": "Huey", "delivery": "at most once", "settings": "quiet", "jobs": 100,
   "cpu_jobs": 40, "versions": {"huey": "3.5.4"}},
  {"name": "rq", "title": "RQ", "delivery": "at most once", "settings": "quiet", "jobs": 100,
   "cpu_jobs": 40, "versions": {"rq": "3.0.0"}}
 ],
 "measures": [
  {"name": "drain_per_s", "title": "drain", "scene": "drain", "unit": "jobs/s", "better": "more", "digits": 0,
   "goal": {"limit": 6.0, "against": "the fastest peer"}},
  {"name": "enqueue_per_s", "title": "enqueue", "scene": "enqueue", "unit": "jobs/s", "better": "more", "digits": 0,
   "goal": {"limit": 1.3, "against": "huey"}},
  {"name": "start_s", "title": "start", "scene": "idle", "unit": "s", "better": "less", "digits": 2,
   "goal": {"limit": 0.8, "against": ""}},
  {"name": "pss_mb", "title": "PSS", "scene": "idle", "unit": "MB", "better": "less", "digits": 0,
   "goal": {"limit": 75, "against": ""}},
  {"name": "redis_reads", "title": "reads", "scene": "drain", "unit": "/job", "better": "less", "digits": 3,
   "goal": null}
 ],
 "records": [
  {"system": "workd", "measure": "drain_per_s", "values": [40000.0, 42000.0], "median": 41000.0, "low": 40000.0,
   "high": 42000.0},
  {"system": "huey", "measure": "drain_per_s", "values": [5000.0, 4000.0], "median": 4500.0, "low": 4000.0,
   "high": 5000.0},
  {"system": "rq", "measure": "drain_per_s", "values": [400.0, null], "median": 400.0, "low": 400.0, "high": 400.0},
  {"system": "workd", "measure": "enqueue_per_s", "values": [8000.0, 8000.0], "median": 8000.0, "low": 8000.0,
   "high": 8000.0},
  {"system": "huey", "measure": "enqueue_per_s", "values": [8000.0, 8000.0], "median": 8000.0, "low": 8000.0,
   "high": 8000.0},
  {"system": "workd", "measure": "start_s", "values": [0.5, 0.6], "median": 0.55, "low": 0.5, "high": 0.6}
 ],
 "failures": [{"system": "rq", "scene": "enqueue", "reason": "its producer failed"}]
}
"""


def figure(curve: str, what: str, median: float, at: float = 0.0, **others: Any) -> dict[str, Any]:
    found = {"curve": curve, "what": what, "at": at, "at_unit": "", "unit": "us/job", "median": median}
    spread = {"low": median, "high": median, "values": [median], "goal": None, "met": None, "note": ""}
    return found | spread | others


def alone(**of: list[dict[str, Any]]) -> dict[str, Any]:
    """Make curves.json."""
    kept = {name: {"rounds": 1, "quick": False, "figures": figures} for name, figures in of.items()}
    return {"machine": {"cores": "2", "server": "Redis 7.0.15"}, "curves": kept}


def fleet(load: str, redis_us: float, at: float = 0.0, rate: float = 1.0) -> list[dict[str, Any]]:
    return [
        figure("fleet", f"{load}: rate", rate, at, unit="jobs/s", at_unit="simulated daemons"),
        figure("fleet", f"{load}: CPU of Redis", redis_us, at, at_unit="simulated daemons"),
        figure("fleet", f"{load}: Redis is busy", 0.96, at, unit="of 1", at_unit="simulated daemons"),
    ]


def scaled() -> dict[str, Any]:
    """Make curves.json with all that docs/scaling.md needs."""
    in_queues = {"at_unit": "queues", "unit": "us/s"}
    return alone(
        fleet=[
            *fleet(scaling.FULL, 6.5, 1, rate=120_000),
            *fleet(scaling.FULL, 6.0, 2, rate=161_234),
            *fleet(scaling.FULL, 5.0, 8, rate=150_000),
            *fleet(scaling.KEPT, 10.0, 8),
            *fleet(scaling.TEN, 12.0, 8),
            *fleet(scaling.ALONE, 50.0, 8),
            *fleet(scaling.ONE_BY_ONE, 35.0),
            *fleet(scaling.IN_BULK, 1.25),
            figure("fleet", "memory of Redis for a waiting job, beyond its message", 21.4, unit="bytes"),
        ],
        workers=[
            figure("workers", "drain", 41_000, 1, unit="jobs/s", at_unit="workers"),
            figure("workers", "drain", 40_000, 2, unit="jobs/s", at_unit="workers"),
            figure("workers", "CPU of the supervisors", 21.4, 2, at_unit="workers"),
        ],
        idle=[
            figure("idle", "CPU of Redis", used, at, **in_queues) for at, used in ((0, 1000), (1, 2250), (100, 4725))
        ],
        distance=[figure("distance", "of the drain at 0 ms", 0.452, 10, unit="x", at_unit="ms round trip")],
        payloads=[
            figure("payloads", "drain", 325, 1000, unit="jobs/s", at_unit="KB"),
            figure("payloads", "drain", 330, 1000, unit="MB/s", at_unit="KB"),
        ],
        queues=[
            figure("queues", "drain", 40_000, 1, unit="jobs/s", at_unit="queues"),
            figure("queues", "drain", 20_000, 100, unit="jobs/s", at_unit="queues"),
        ],
    )


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    path = tmp_path / "notes.toml"
    path.write_text('[[missed]]\ncurve = "peers"\nwhat = "enqueue_per_s"\nwhy = """both wait\nfor Redis"""\n')
    return Notes(path)


def by_name(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.what: verdict for verdict in verdicts}


def test_every_goal_beside_others_has_its_line(notes: Notes) -> None:
    found = by_name(list(peers.verdicts(json.loads(PEERS), notes)))
    assert found["drain"] == Verdict("drain", ">= 6 x Huey", "9.25 (8 to 10.5) x", met=True)
    assert found["enqueue one by one"] == Verdict(
        "enqueue one by one", ">= 1.3 x Huey", "1 x", met=False, why="both wait for Redis"
    )
    assert found["start to first job, in the run beside others"].met
    assert not found["PSS of the worker side, in the run beside others"].met
    assert len(found) == 4


def test_a_goal_that_nothing_was_measured_for_is_not_met(notes: Notes) -> None:
    found = by_name(list(peers.verdicts(json.loads(PEERS), notes)))
    assert found["PSS of the worker side, in the run beside others"].why == UNMEASURED
    without_peers = json.loads(PEERS)
    without_peers["records"] = [one for one in without_peers["records"] if one["system"] == "workd"]
    drain = by_name(list(peers.verdicts(without_peers, notes)))["drain"]
    assert (drain.goal, drain.met, drain.why) == (">= 6 x the fastest peer", False, UNMEASURED)


def test_a_goal_that_names_a_peer_is_not_met_beside_another(notes: Notes) -> None:
    without_huey = json.loads(PEERS)
    without_huey["records"] = [one for one in without_huey["records"] if one["system"] != "huey"]
    enqueue = by_name(list(peers.verdicts(without_huey, notes)))["enqueue one by one"]
    assert (enqueue.goal, enqueue.met, enqueue.why) == (">= 1.3 x Huey", False, UNMEASURED)


def test_the_terminal_shows_the_same_verdicts_as_the_page() -> None:
    printed = list(terminal.tables(json.loads(PEERS)))
    drain, enqueue, start = (
        next(line for line in printed if line.startswith(title)) for title in ("drain, ", "enqueue, ", "start, ")
    )
    assert " ".join(drain.split()) == "drain, jobs/s 41,000 4,500 Huey 9.25 (8 - 10.5) >= 6 x Huey met"
    assert enqueue.endswith(">= 1.3 x Huey  MISSED")
    assert start.endswith("<= 0.8 s  met")
    assert "FAILED: RQ, enqueue: its producer failed" in printed


def test_every_goal_of_a_curve_has_its_line_and_so_has_a_curve_that_is_not_there(notes: Notes) -> None:
    found = alone(
        memory=[
            figure("memory", "PSS", 80.0, unit="MB", goal="<= 75", met=False),
            figure("memory", "    supervisor", 40.0, unit="MB"),
            figure("memory", "each further worker", 4.0, unit="MB", goal="<= 6", met=True),
        ]
    )
    lines = by_name(list(curves.verdicts(found, notes)))
    assert lines["PSS"] == Verdict("PSS", "<= 75 MB", "80 MB", met=False, why=UNEXPLAINED)
    assert lines["each further worker"].met
    assert "supervisor" not in lines
    assert lines["all of: Payload"].why == UNMEASURED


def test_a_curve_says_how_often_and_how_much_was_measured(notes: Notes, tmp_path: Path) -> None:
    found = alone(memory=[figure("memory", "PSS", 80.0)], map=[figure("map", "RedisPool.map", 1.0)])
    found["curves"]["map"]["quick"] = True
    lines = [line for line in curves.sections(found, notes, tmp_path) if line.startswith("Rounds")]
    assert lines == ["Rounds: 1.", "Rounds: 1, of less than the full work."]


def test_a_missed_goal_without_a_reason_is_named(tmp_path: Path) -> None:
    data = tmp_path / "benchmarks"
    data.mkdir()
    found = json.loads(PEERS)
    found["records"][-1] |= {"values": [0.9], "median": 0.9, "low": 0.9, "high": 0.9}
    (data / "peers.json").write_text(json.dumps(found))
    owed = report.write(tmp_path)
    assert "start to first job, in the run beside others (<= 0.8 s; 0.9 s)" in owed
    assert f"**missed**: {UNEXPLAINED}" in (tmp_path / "benchmarks.md").read_text()


def test_what_failed_is_said(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "peers.json").write_text(PEERS)
    report.write(tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "- Failed: RQ, enqueue: its producer failed" in page
    assert "Measured on: cores 2, server Redis 7.0.15." in page


def test_the_texts_of_scaling_follow_from_the_figures() -> None:
    found = scaling.texts(scaling.Curves(scaled()))
    assert found["supervisor_rate"] == "41,000"
    assert found["supervisors"] == "4"  # 161,234 by 41,000
    assert (found["alone_rate"], found["workers_20ms"]) == ("20,000", "400")
    assert (found["idle_us"], found["idle_queue_us"], found["idle_daemons"]) == ("1,200", "25", "800")
    assert (found["far_share"], found["queues_share"], found["large_mb"]) == ("45", "50", "330")
    assert "| busy daemons, jobs already there | 160,000 | measured with 2 simulated daemons" in found["loads"]
    assert "| every job alone in its calls, sent one by one | 12,000 |" in found["loads"]
    assert "| hand it out and settle it, 128 jobs a call | 5 |" in found["costs"]


def test_scaling_says_what_to_measure_for_a_figure_that_is_not_there() -> None:
    found = scaled()
    del found["curves"]["distance"]
    with pytest.raises(scaling.MissingError, match=r'"of the drain at 0 ms" at 10 of distance.*ARGS="distance"'):
        scaling.page("", found)


def test_scaling_refuses_a_name_that_means_nothing() -> None:
    with pytest.raises(KeyError, match="pigs"):
        scaling.page("${pigs}", scaled())


def test_the_committed_pages_are_what_the_committed_figures_say(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    owed = report.write(tmp_path, DOCS)
    assert owed == []
    for page in ("benchmarks.md", "scaling.md"):
        assert (tmp_path / page).read_text() == (DOCS / page).read_text(), "run make bench-report"
