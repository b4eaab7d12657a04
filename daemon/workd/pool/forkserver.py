"""The process that makes workers: single-threaded, loaded once with the task modules, asked over one socket.

Run as `python -m workd.pool.forkserver CONTROL_FD LIFELINE_FD` by `launcher.py`. It imports what the load request
names (never the daemon's `__main__`), answers with the catalogue or the traceback, and then forks on request. It
reaps only when told: until then a dead worker's pid and process group can't be reused, so the supervisor can kill
what is left of the group without hitting a stranger.

Each request and each answer is one packet: a JSON object, with descriptors beside it.

    {"op": "load"} with a memfd: {"path": […], "modules": […], "runner": "module:callable", "options": {…}}
        → {"event": "importing", "module"} before each module, so that its name is known if it ends the process
        → {"event": "load-answer"} with a memfd: {"event": "loaded", …} or {"event": "failed", …}
    {"op": "fork", "ticket": n, "slot": n, "nice": n}, with the worker's end of the channel
        → {"event": "forked", "ticket", "pid"} with a pidfd, or {"event": "fork-failed", …}
    {"op": "reap", "ticket": n, "pid": n}
        → {"event": "reaped", "ticket", "status", "peak_rss_bytes"}
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import threading
import traceback
from typing import Any, Final, NoReturn

from workd.pool import frames, lifeline
from workd.pool.worker import Runner, become_worker, flush_streams, ignore_signals, set_title

MAX_CONTROL_PACKET: Final = 64 * 1024
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)
_TRACEBACK_CHARS: Final = 16_000
_OWN_PACKAGES: Final = ("workd", "workd_tasks")


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


class _Forkserver:
    def __init__(self, control: socket.socket, lifeline_fd: int) -> None:
        self._control = control
        self._lifeline_fd = lifeline_fd
        self._runner: Runner | None = None

    def serve(self) -> None:
        while (request := receive(self._control)) is not None:
            packet, fds = request
            match packet["op"]:
                case "load":
                    self._answer_load(self._load(json.loads(frames.read_body(fds[0]))))
                case "fork":
                    self._fork(packet, fds)
                case "reap":
                    self._reap(packet)

    def _load(self, packet: dict[str, Any]) -> dict[str, Any]:
        sys.path[:0] = [entry for entry in packet["path"] if entry not in sys.path]
        flush_streams()
        runner_module, _, factory = packet["runner"].partition(":")
        module = ""
        try:
            for module in packet["modules"]:
                self._import(module)
            send(self._control, {"event": "importing", "module": ""})
            self._runner, catalogue = getattr(importlib.import_module(runner_module), factory)(**packet["options"])
        except BaseException as error:  # noqa: BLE001 - the user's import may raise anything; it is the answer
            return {"event": "failed", "module": getattr(error, "module", "") or module, **_describe(error)}
        finally:
            flush_streams()
        # Collected once and frozen: the collector never touches (and so never copies) the shared pages again.
        gc.collect()
        gc.freeze()
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        return {"event": "loaded", "catalogue": catalogue, "threads": threads}

    def _import(self, module: str) -> None:
        from workd_tasks import registry  # not for `workd.Pool`, which names no modules

        send(self._control, {"event": "importing", "module": module})
        registry.import_module(module)

    def _answer_load(self, answer: dict[str, Any]) -> None:
        fd = frames.spill(json.dumps(answer).encode())
        send(self._control, {"event": "load-answer"}, (fd,))
        os.close(fd)

    def _fork(self, packet: dict[str, Any], fds: list[int]) -> None:
        if self._runner is None:
            msg = "a fork was asked for before a load"
            raise RuntimeError(msg)
        channel = socket.socket(fileno=fds[0])
        flush_streams()  # what a buffer holds at the fork would be written twice
        try:
            pid = os.fork()
        except OSError as error:
            channel.close()
            send(self._control, {"event": "fork-failed", "ticket": packet["ticket"], "message": str(error)})
            return
        if pid == 0:
            self._control.close()
            become_worker(packet["slot"], channel, self._lifeline_fd, packet["nice"], self._runner)
        channel.close()
        pidfd = os.pidfd_open(pid)  # nobody but this process can reap it, so the pid is still this child's
        send(self._control, {"event": "forked", "ticket": packet["ticket"], "pid": pid}, (pidfd,))
        os.close(pidfd)

    def _reap(self, packet: dict[str, Any]) -> None:
        answer = {"event": "reaped", "ticket": packet["ticket"], "status": None, "peak_rss_bytes": None}
        with contextlib.suppress(ChildProcessError):
            pid, status, usage = os.wait4(packet["pid"], os.WNOHANG)
            if pid:
                answer |= {"status": status, "peak_rss_bytes": usage.ru_maxrss * 1024}
        send(self._control, answer)


def _describe(error: BaseException) -> dict[str, str]:
    """Return the cause of a failed load: the exception, where it was raised, and the whole traceback."""
    calls = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in calls if not _is_ours(frame.filename)]
    place = f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    text = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARS:]
    return {"type": type(error).__name__, "message": str(error), "place": place, "traceback": text}


def _is_ours(filename: str) -> bool:
    """Tell frames of workd and of the import machinery from those in which the user can change something."""
    folders = [os.path.dirname(str(sys.modules[name].__file__)) for name in _OWN_PACKAGES if name in sys.modules]  # noqa: PTH120
    ours = any(filename.startswith(f"{folder}/") for folder in folders) and "/workd_tasks/samples/" not in filename
    return ours or filename.startswith("<frozen ") or "importlib" in filename


def main(argv: list[str]) -> NoReturn:
    """Serve the control socket until the supervisor closes it."""
    control_fd, lifeline_fd = int(argv[1]), int(argv[2])
    set_title("workd-forkserver")
    ignore_signals()
    lifeline.arm(lifeline_fd)
    os.set_inheritable(control_fd, False)  # noqa: FBT003 - the signature of the standard library
    os.set_inheritable(lifeline_fd, False)  # noqa: FBT003
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the supervisor went away between two packets
        _Forkserver(socket.socket(fileno=control_fd), lifeline_fd).serve()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv)
