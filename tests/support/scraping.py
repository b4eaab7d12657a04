"""What a daemon says over HTTP, as a scraper and as a person with curl see it."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 30.0
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


class Described(NamedTuple):
    """What is said of one metric."""

    kind: str
    labels: frozenset[str]


class Scraper:
    """Asks one daemon; give `address` to it as its setting `http`."""

    def __init__(self, port: int | None = None) -> None:
        """Choose a free port."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def json(self, path: str) -> dict[str, Any]:
        """Return what a page says, whatever its status."""
        found: dict[str, Any] = json.loads(self.get(path)[1])
        return found

    def exposition(self) -> str:
        """Return the metrics as text."""
        status, body = self.get("/metrics")
        assert status == 200
        return body.decode()

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels; 0 if there are none."""
        return sum(
            value for found, having, value in self.samples() if found == name and labels.items() <= having.items()
        )

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield the samples: name, labels, value."""
        for family in text_string_to_metric_families(self.exposition()):
            for sample in family.samples:
                yield sample.name, dict(sample.labels), sample.value

    def described(self) -> dict[str, Described]:
        """Return the metrics that there are, with type and labels (but those of buckets)."""
        found = {}
        for family in text_string_to_metric_families(self.exposition()):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = Described(family.type, frozenset(labels))
        return found


def documented() -> dict[str, Described]:
    """Return the metrics that the page lists, with type and labels."""
    found = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| `workd_", "| `process_")) and len(cells) == 4:
            labels = frozenset(cell.strip(" `") for cell in cells[2].split(",")) - {""}
            assert cells[0].strip("`") not in found, f"{cells[0]} is listed twice"
            found[cells[0].strip("`")] = Described(cells[1], labels)
    return found
