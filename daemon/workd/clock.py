"""The time of the Redis server, as far as this process knows it.

Due times and expiries are compared with the server's clock, which all daemons share; a host whose own clock is off
must not run jobs early or late. Deadlines inside the daemon use the loop's monotonic time, never this.
"""

from __future__ import annotations

import time


class Clock:
    """Epoch seconds by the server: the own clock plus the offset that was measured last."""

    def __init__(self) -> None:
        """Trust the own clock until a server has been asked."""
        self.offset_s = 0.0  # of the server's clock to our own

    def set_by(self, server_now_ms: float, asked_at_s: float | None = None) -> None:
        """Take the server's time, just received, and asked for when our own clock showed `asked_at_s`; None: just now.

        It is as old as the way back was long, and that may be all of the time since the question: the offset moves only
        as far as this leaves no doubt. Else each answer that a busy machine reads late would set the clock back.
        """
        told_s = server_now_ms / 1000
        least_s = told_s - time.time()
        most_s = least_s if asked_at_s is None else told_s - asked_at_s
        self.offset_s = min(max(self.offset_s, least_s), most_s)

    def now_s(self) -> float:
        """Return epoch seconds."""
        return time.time() + self.offset_s
