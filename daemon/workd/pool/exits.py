"""Exit codes of workers that the pool itself gives. Loaded by both sides, so it imports nothing."""

from __future__ import annotations

from typing import Final

EXIT_BOOT_FAILED: Final = 78
EXIT_CHANNEL_BROKEN: Final = 79  # it could not read its jobs or write its results
