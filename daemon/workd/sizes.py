"""How many workers a daemon may have: the types of those settings, and what they come to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo

if TYPE_CHECKING:
    from workd.settings import Settings

AUTO: Final = "auto"
MAX_WORKERS: Final = 4096
PER_CORE: Final = 4  # at most, where nobody says otherwise: more than one is for tasks that wait


def _kind(value: object) -> str:
    return "auto" if value == AUTO else "number"


def _above_the_least(value: int, info: ValidationInfo) -> int:
    """Refuse a maximum below the minimum."""
    least = info.data.get("workers_min", 0)
    if 0 < value < least:
        raise ValueError(f"should be at least workers_min, which is {least}")
    return value


_Number = Annotated[int, Field(ge=1, le=MAX_WORKERS)]
Workers = Annotated[
    Annotated[_Number, Tag("number")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(_kind),
]
LeastWorkers = Annotated[int, Field(ge=0, le=MAX_WORKERS)]
MostWorkers = Annotated[int, Field(ge=0, le=MAX_WORKERS), AfterValidator(_above_the_least)]


class Bounds(NamedTuple):
    """Between how many workers the load decides; the same number twice where it does not."""

    least: int
    most: int

    @property
    def first(self) -> int:
        """How many to begin with. One at least: a daemon that cannot start any should say so at its start."""
        return max(1, self.least)


def bounds(settings: Settings, cores: int) -> Bounds:
    """Return what the settings say, on a machine with so many usable cores."""
    if settings.workers != AUTO:
        return Bounds(settings.workers, settings.workers)
    most = settings.workers_max or PER_CORE * cores
    return Bounds(settings.workers_min, min(MAX_WORKERS, max(most, settings.workers_min, 1)))
