"""What the supervisor and a forkserver say to each other, over a SEQPACKET socket.

Each request and each answer is one packet: a JSON object, with descriptors beside it.

    {"op": "load"} with a memfd: {"path": […], "modules": […], "runner": "module:callable", "options": {…},
                                "start_method", "command": how to start an interpreter}
        → {"event": "importing", "module"} before each module, so that its name is known if it ends the process
        → {"event": "load-answer"} with a memfd: {"event": "loaded", …} or {"event": "failed", …}
    {"op": "fork", "ticket": n, "slot": n, "nice": n}, with the worker's end of the channel
        → {"event": "forked", "ticket", "pid"} with a pidfd, or {"event": "fork-failed", …}
    {"op": "reap", "ticket": n, "pid": n}
        → {"event": "reaped", "ticket", "status", "peak_rss_bytes"}
    {"op": "discard", "pid": n}: end a worker that nobody took over; there is no answer

Loaded before anything else is, on both sides, so it imports next to nothing.
"""

from __future__ import annotations

import array
import json
import socket
from typing import Any, Final

MAX_CONTROL_PACKET: Final = 64 * 1024
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next packet and its descriptors; None when the other side is gone."""
    data, ancillary, _, _ = control.recvmsg(MAX_CONTROL_PACKET, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return json.loads(data), list(fds)


def send(control: socket.socket, packet: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one packet; what may be large goes beside it in a memfd."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([json.dumps(packet).encode()], rights)
