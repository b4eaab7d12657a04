"""Where a suspended coroutine is: what `faulthandler` cannot tell, since its frames are on no thread's stack.

Asked by the supervisor before it kills a worker for a coroutine: the key on the board and `ORDER_SIGNAL`, as for a soft
timeout. A loop that turns answers at once. What blocks a loop is on the stack, and there `faulthandler` sees it.
"""

from __future__ import annotations

from typing import Any, Final

_DEEPEST: Final = 50  # frames


def describe(coroutine: Any) -> str:
    """Return the frames of a coroutine and of what it awaits, innermost first, as `faulthandler` writes them."""
    lines: list[str] = []
    while coroutine is not None and len(lines) < _DEEPEST:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}\n')
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return "".join(reversed(lines))
