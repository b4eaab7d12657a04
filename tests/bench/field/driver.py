"""Takes turns: round by round and scene by scene every system once, so that all of them meet the same noise.

Called by `__main__`. A scene that fails for a system is noted with its reason and not tried for it again; the rest
goes on.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.field.run import RunError, programs_of
from bench.field.scenes import SCENES, Figures, Size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.field.catalogue import System


@dataclass(frozen=True, slots=True)
class Failure:
    """A scene that a system did not get through."""

    system: str
    scene: str
    reason: str


@dataclass(slots=True)
class Taken:
    """All that was measured: for each round, the figures of each system."""

    rounds: list[dict[str, Figures]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def failed(self, system: str, scene: str) -> bool:
        """Say whether this was tried in vain."""
        return any((one.system, one.scene) == (system, scene) for one in self.failures)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. `venvs` is the folder of the peers' environments."""

    systems: Sequence[System]
    scenes: Sequence[str]
    rounds: int
    size: Size
    venvs: Path


def measure(plan: Plan, taken: Taken) -> None:
    """Measure all of a plan; what is done by the time of an interrupt is in `taken`."""
    for number in range(1, plan.rounds + 1):
        figures: dict[str, Figures] = {system.name: {} for system in plan.systems}
        taken.rounds.append(figures)
        for scene in plan.scenes:
            for system in plan.systems:
                if not taken.failed(system.name, scene):
                    _say(f"round {number} of {plan.rounds}, {scene:8} {system.title:28}")
                    figures[system.name] |= _turn(plan, system, scene, taken)


def _turn(plan: Plan, system: System, scene: str, taken: Taken) -> Figures:
    try:
        start = time.monotonic()
        figures = SCENES[scene](system, programs_of(system, plan.venvs), plan.size)
    except (RunError, AssertionError, OSError) as error:  # assertions are how tests.support says what is wrong
        taken.failures.append(Failure(system.name, scene, str(error) or type(error).__name__))
        _say(f"failed: {error}\n")
        return {}
    _say(f"{time.monotonic() - start:5.1f} s\n")
    return figures


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
