"""The dashboard and the alert rules in a real Prometheus that scrapes a real daemon."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import prometheus
from support.daemons import DaemonProcess
from support.fault_queue import FaultQueue
from support.prometheus import Prometheus
from support.scraping import Scraper, documented
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "workd.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
WAIT_S = 60.0
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")

pytestmark = pytest.mark.skipif(
    not DASHBOARD.exists(), reason="the tests run outside the repository, which has the dashboard"
)
needs_prometheus = pytest.mark.skipif(
    prometheus.BINARY is None, reason="prometheus is missing: install Debian's package of that name"
)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> list[str]:
    """Return what panels and annotations ask."""
    board = dashboard()
    targets = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*targets, *(note["expr"] for note in board["annotations"]["list"])]


def variables() -> dict[str, str]:
    return {one["name"]: one["definition"] for one in dashboard()["templating"]["list"] if one["type"] == "query"}


def filled(text: str) -> str:
    """Put in what Grafana would: all of each variable."""
    text = text.replace("$__rate_interval", "10s")
    for name in variables():
        text = text.replace(f"${name}", ".*")
    assert "$" not in text, text
    return text


@pytest.fixture
def queue(valkey: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(valkey, tmp_path)
    yield queue
    queue.close()


@needs_prometheus
@pytest.mark.timeout(300)
def test_every_query_of_the_dashboard_answers_and_every_rule_is_evaluated(queue: FaultQueue, tmp_path: Path) -> None:
    scraper = Scraper()
    with (
        DaemonProcess(queue.server.url, tmp_path, http=scraper.address) as daemon,
        Prometheus(tmp_path, scraper.address, RULES) as server,
    ):
        daemon.wait_ready()
        queue.succeeded(queue.push("fail_until", 2))
        eventually(lambda: server.query('workd_dead_letters_total{reason="rejected"} == 0'), WAIT_S)
        queue.ended(queue.push("refuse", "no"), status="dead")
        for definition in variables().values():
            eventually(partial(_values, server, *_label_values(filled(definition))), WAIT_S)
        for query in map(filled, queries()):
            if query.startswith("changes("):
                server.query(query)  # nothing has started anew: it parses
            else:
                eventually(partial(server.query, query), WAIT_S)
        assert len(_rules(server)) > 10
        eventually(lambda: _all_healthy(server), WAIT_S)
        eventually(
            lambda: [r["name"] for r in _rules(server) if r["state"] == "firing"] == ["WorkdDeadLetters"], WAIT_S
        )


def _label_values(definition: str) -> tuple[str, str]:
    found = LABEL_VALUES.fullmatch(definition)
    assert found is not None, definition
    return found[1], found[2]


def _values(server: Prometheus, selector: str, label: str) -> list[str]:
    values: list[str] = server.ask(f"label/{label}/values", **{"match[]": selector})
    return values


def _rules(server: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]


def _all_healthy(server: Prometheus) -> bool:
    health = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in _rules(server)}
    assert not [name for name, (state, _) in health.items() if state == "err"], health
    return all(state == "ok" for state, _ in health.values())


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    texts = [*queries(), *variables().values()]
    asked = {name for text in texts for name in re.findall(r"\b(?:workd|process)_\w+", text)}
    known = {f"{name}{end}" for name in documented() for end in ("", "_bucket", "_sum", "_count")}
    assert asked - known == set()


def test_every_panel_says_what_it_shows_and_has_its_own_place() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        assert panel["title"]
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert 0 <= x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_every_query_is_for_the_chosen_daemons() -> None:
    assert [text for text in queries() if 'job=~"$job", instance=~"$instance"' not in text] == []
