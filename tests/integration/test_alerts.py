"""The alert rules: that Prometheus reads them, that each fires when it should, and that each has a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.scraping import documented

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES, CASES = FOLDER / "alerts.yml", FOLDER / "alerts_test.yml"

pytestmark = pytest.mark.skipif(not RULES.exists(), reason="the tests run outside the repository, which has the rules")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: install Debian's prometheus"
)


def names() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


@needs_promtool
@pytest.mark.parametrize("what", [("check", RULES), ("test", CASES)], ids=["check", "test"])
def test_prometheus_reads_the_rules_and_each_fires_when_it_should(what: tuple[str, Path]) -> None:
    command, file = what
    done = subprocess.run(
        ["promtool", command, "rules", file.name], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_a_case_in_which_it_fires() -> None:
    cases = CASES.read_text()
    assert len(names()) > 10
    untested = [name for name in names() if f'alertname="{name}"' not in cases and f"alertname: {name}" not in cases]
    assert untested == []


def test_each_rule_says_what_it_is_and_where_it_is_written_what_to_do() -> None:
    blocks = RULES.read_text().split("- alert: ")[1:]
    for name, block in zip(names(), blocks, strict=True):
        assert re.search(r"labels: \{severity: (page|ticket)\}", block), name
        assert all(word in block for word in ("summary: ", "description: ")), name
        assert f'runbook: "docs/operations.md#{name.lower()}"' in block, name


def test_each_runbook_is_there() -> None:
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert [name for name in names() if name not in headings] == []


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    asked = set(re.findall(r"\bworkd_\w+", RULES.read_text()))
    known = {f"{name}{end}" for name in documented() for end in ("", "_bucket", "_sum", "_count")}
    assert asked - known == set()
