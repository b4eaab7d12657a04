"""The time of the Redis server, as far as this process knows it.

Due times and expiries are compared with the server's clock, which all daemons share; a host whose own clock is off
must not run jobs early or late. Deadlines inside the daemon use the loop's monotonic time, never this.
"""

from __future__ import annotations

import time


class Clock:
    """Epoch seconds by the server: the own clock plus the offset measured at the last connection."""

    def __init__(self) -> None:
        """Trust the own clock until a server has been asked."""
        self.offset_s = 0.0  # of the server's clock to our own

    def set_by(self, server_now_ms: float) -> None:
        """Take the server's time, just received."""
        self.offset_s = server_now_ms / 1000 - time.time()

    def now_s(self) -> float:
        """Return epoch seconds."""
        return time.time() + self.offset_s
