"""The pool's logger: structlog where the program has configured it, as the daemon does, else the standard library's.

Unconfigured structlog writes to stdout, which is a program's own; the standard library's warnings go to stderr. Neither
is loaded before the first line is written: deaths and failures are rare, and structlog is heavy.
"""

from __future__ import annotations

import sys
from typing import Any


class _Logger:
    """Has structlog's methods."""

    def __getattr__(self, level: str) -> Any:
        structlog = sys.modules.get("structlog")  # which another thread may be only just importing
        is_configured = getattr(structlog, "is_configured", None)
        if structlog is not None and is_configured is not None and is_configured():
            return getattr(structlog.get_logger("workd.pool"), level)

        import functools

        return functools.partial(_log_plainly, level)


def _log_plainly(level: str, event: str, *, exc_info: BaseException | None = None, **facts: object) -> None:
    import logging

    text = " ".join([event, *(f"{name}={value!r}" for name, value in facts.items())])
    logging.getLogger("workd.pool").log(getattr(logging, level.upper()), "%s", text, exc_info=exc_info)


log = _Logger()
