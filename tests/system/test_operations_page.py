"""docs/operations.md, followed word by word on a clean system: each block is run, and what it says has to appear."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.machines.fresh import new_container
from support.machines.page import Step, steps
from support.machines.service import OFFLINE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.machines.base import Machine

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
STEPS = steps(PAGE.read_text()) if PAGE.exists() else []
STEP_TIMEOUT_S = 300.0


@pytest.fixture(scope="module")
def clean_machine() -> Iterator[Machine]:
    """A Debian with nothing of ours on it, but pip and apt that know where packages are without a network."""
    with new_container("web3") as container:
        container.sh(f"{OFFLINE}cp -r {RELEASE} /root/clone")
        yield container


@pytest.fixture(scope="module")
def failures() -> list[str]:
    """The steps that failed: those behind them are not run, since they stand on them."""
    return []


def test_the_page_has_steps() -> None:
    assert len(STEPS) >= 10


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_the_page_does_what_it_says(step: Step, clean_machine: Machine, failures: list[str]) -> None:
    if failures:
        pytest.skip(f"it stands on a step that failed: {failures[0]}")
    failures.append(step.name)
    script = f"cd /root/clone\nexec 2>&1\n{step.script}"
    done = clean_machine.tried("bash", "-eo", "pipefail", "-c", script, timeout_s=STEP_TIMEOUT_S)
    log = clean_machine.tried("journalctl", "--no-pager", "--output=cat", "--lines=30", "--unit=workd").out
    assert done.code == 0, f"exit code {done.code}:\n{done.out}\n--- journal:\n{log}"
    assert step.missing(done.out) is None, f"printed was:\n{done.out}\n--- journal:\n{log}"
    failures.clear()
