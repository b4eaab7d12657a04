"""How many of something there are in a second, over the last few: for people who look. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 5.0
_SOONEST_S: Final = 0.25  # samples that come sooner after another tell nothing more


class Rate:
    """The rate of a counter that somebody reads now and then."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        """Know of nothing yet."""
        self._window_s = window_s
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> None:
        """Take what the counter shows at a moment, in seconds of any clock that does not go back."""
        samples = self._samples
        if samples and now - samples[-1][0] < _SOONEST_S:
            return
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - self._window_s:  # noqa: PLR2004 - one older than the window
            samples.popleft()

    def per_s(self) -> float:
        """Return how many came in a second."""
        if not self._samples:
            return 0.0
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0
