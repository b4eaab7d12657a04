"""docs/operations.md: what can be known of it without a machine to run it on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.machines.page import Step, steps

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
STEPS = steps(TEXT)


def anchor(heading: str) -> str:
    """Return the name by which a heading is linked to, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {anchor(found) for found in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}


def test_the_page_has_what_is_to_be_run_and_what_appears() -> None:
    assert len(STEPS) > 10
    assert TEXT.count("```sh run") == len(STEPS)
    assert TEXT.count("```text") == sum(bool(step.expected) for step in STEPS) > 10


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_block_that_is_to_be_run_is_a_script(step: Step) -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-n"], input=step.script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert step.missing("\n".join(step.expected)) is None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(#([^)]+)\)", TEXT))))
def test_a_link_within_the_page_leads_somewhere(target: str) -> None:
    assert target in headings(TEXT)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+\.md)#([^)]+)\)", TEXT))))
def test_a_link_to_a_heading_of_another_page_leads_there(link: tuple[str, str]) -> None:
    path, target = link
    assert target in headings((PAGE.parent / path).read_text(encoding="utf-8"))
