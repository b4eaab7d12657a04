"""What `ps` and `top` call our processes."""

from __future__ import annotations

import contextlib


def set_title(title: str) -> None:
    """Have `ps` and `top` show this process under `title`; the kernel keeps the first 15 bytes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as comm:  # noqa: PTH123
        comm.write(title)
