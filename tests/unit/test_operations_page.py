"""docs/operations.md: what can be known of it without a machine to run it on."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from support.operations import PAGE, Block, blocks

TEXT = PAGE.read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the name by which a heading is linked to, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {anchor(found) for found in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}


def test_the_page_has_what_is_to_be_run_and_what_appears() -> None:
    found = blocks()
    assert len(found) > 10
    assert sum(bool(block.expected) for block in found) > 10
    assert TEXT.count("```sh run") == len(found)
    assert TEXT.count("```text") == sum(bool(block.expected) for block in found)


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"line {block.line}")
def test_a_block_that_is_to_be_run_is_a_script(block: Block) -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run([bash, "-n"], input=block.script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert block.missing("\n".join(block.expected)) is None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(#([^)]+)\)", TEXT))))
def test_a_link_within_the_page_leads_somewhere(target: str) -> None:
    assert target in headings(TEXT)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+\.md)#([^)]+)\)", TEXT))))
def test_a_link_to_a_heading_of_another_page_leads_there(link: tuple[str, str]) -> None:
    path, target = link
    assert target in headings((PAGE.parent / path).read_text(encoding="utf-8"))


def test_what_has_to_appear_is_looked_for_in_order_and_dots_stand_for_anything() -> None:
    block = Block(1, "", ("a … c", "d"))
    assert block.missing("x\na bb c\nd\n") is None
    assert block.missing("d\na bb c\n") == "d"
    assert block.missing("a bb\nc\nd\n") == "a … c"
