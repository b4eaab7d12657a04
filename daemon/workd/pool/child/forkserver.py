"""The process that makes workers: single-threaded, loaded once with the task modules, asked over one socket.

Run as `python -m workd.pool.child.forkserver CONTROL_FD LIFELINE_FD` by `launcher.py`. It imports what the load request
names (never the daemon's `__main__`), answers with the catalogue or the traceback, and then forks on request. It
reaps only when told: until then a dead worker's pid and process group can't be reused, so the supervisor can kill
what is left of the group without hitting a stranger.

For the start method `spawn` it loads nothing and executes a fresh interpreter in each child (`… worker …`), which loads
all by itself. For `fork` it is itself a fork of the host program (`become_forkserver`).

What is said over the socket is in `control.py`. It imports little: for `spawn` it never needs more, and otherwise the
libraries of a worker are loaded with the request.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from workd import faultpoints
from workd.pool import frames, lifeline
from workd.pool.child.complaints import complain
from workd.pool.child.deafness import ignore_signals
from workd.pool.child.title import set_title
from workd.pool.control import receive, send
from workd.pool.exits import EXIT_BOOT_FAILED
from workd.pool.streams import flush_streams, print_exception

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.child.worker import Runner


def _load(
    request: dict[str, Any], on_import: Callable[[str], None], *, collects: bool
) -> tuple[Runner, dict[str, Any]]:
    """Import what the request names; return the runner and the catalogue. `on_import` hears of each module before.

    `collects`: what `_collect_again` is to be told before the first line of the user's own runs.
    """
    sys.path[:0] = [entry for entry in request["path"] if entry not in sys.path]
    import workd.pool.child.worker  # noqa: F401 - once, for all workers that are forked from here

    runner_module, _, factory = request["runner"].partition(":")
    if request["modules"]:
        from workd.output import printing  # not for `workd.Pool`, whose workers print as the standard library's do

        printing.install()
        _collect_again(collects)
    for module in request["modules"]:
        from workd_tasks import registry  # not for `workd.Pool`, which names no modules

        on_import(module)
        registry.import_module(module)
    on_import("")
    make = getattr(importlib.import_module(runner_module), factory)
    if not request["modules"]:
        _collect_again(collects)
    runner, catalogue = make(**request["options"])
    return runner, catalogue


def _collect_again(collects: bool) -> None:  # noqa: FBT001 - the only thing that there is to say
    """Undo what our command did to the garbage collector. Called once, since the user's modules may disable it too."""
    if collects:
        gc.enable()


class _Forkserver:
    def __init__(
        self, control: socket.socket, lifeline_fd: int, runner: Runner | None = None, *, collects: bool = False
    ) -> None:
        self._control = control
        self._collects = collects
        self._lifeline_fd = lifeline_fd
        self._runner = runner
        self._spawn_request: dict[str, Any] = {}
        self._importing = ""

    def serve(self) -> None:
        while (request := receive(self._control)) is not None:
            packet, fds = request
            match packet["op"]:
                case "load":
                    faultpoints.hit("forkserver_before_load")
                    self._answer_load(self._take_load(json.loads(frames.read_body(fds[0]))))
                case "fork":
                    self._fork(packet, fds)
                case "reap":
                    self._reap(packet)
                case "discard":
                    _discard(packet["pid"])

    def _take_load(self, request: dict[str, Any]) -> dict[str, Any]:
        catalogue: dict[str, Any] = {}
        flush_streams()
        try:
            if request["start_method"] == "spawn":
                _collect_again(self._collects)
                self._spawn_request = request
            elif request["start_method"] == "forkserver":
                self._runner, catalogue = _load(request, self._tell_import, collects=self._collects)
        except BaseException as error:  # noqa: BLE001 - the user's import may raise anything; it is the answer
            return {"event": "failed", **complain(error, self._importing)}
        finally:
            flush_streams()
        # The collector never touches (and so never copies) the shared pages again. Not collected before: that would
        # only leave holes in them, to be filled and copied by each worker. See gc.freeze in the library reference.
        gc.freeze()
        threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        return {"event": "loaded", "catalogue": catalogue, "threads": threads}

    def _tell_import(self, module: str) -> None:
        self._importing = module
        send(self._control, {"event": "importing", "module": module})

    def _answer_load(self, answer: dict[str, Any]) -> None:
        faultpoints.hit("forkserver_after_load")
        fd = frames.spill(json.dumps(answer).encode())
        send(self._control, {"event": "load-answer"}, (fd,))
        os.close(fd)

    def _fork(self, packet: dict[str, Any], fds: list[int]) -> None:
        channel = socket.socket(fileno=fds[0])
        runner = self._runner
        if runner is None and not self._spawn_request:
            channel.close()
            send(self._control, {"event": "fork-failed", "ticket": packet["ticket"], "message": "nothing is loaded"})
            return
        flush_streams()  # what a buffer holds at the fork would be written twice
        faultpoints.hit("forkserver_before_fork")
        try:
            pid = os.fork()
        except OSError as error:
            channel.close()
            send(self._control, {"event": "fork-failed", "ticket": packet["ticket"], "message": str(error)})
            return
        if pid == 0:
            self._become(packet, channel, runner)
        faultpoints.hit("forkserver_after_fork")
        channel.close()
        pidfd = os.pidfd_open(pid)  # nobody but this process can reap it, so the pid is still this child's
        send(self._control, {"event": "forked", "ticket": packet["ticket"], "pid": pid}, (pidfd,))
        faultpoints.hit("forkserver_after_answer")
        os.close(pidfd)

    def _become(self, packet: dict[str, Any], channel: socket.socket, runner: Runner | None) -> NoReturn:
        """Be the worker, in the child."""
        self._control.close()
        if runner is not None:
            from workd.pool.child.worker import become_worker

            become_worker(packet["slot"], channel, self._lifeline_fd, packet["nice"], lambda: runner)
        try:
            spec_fd = frames.spill(json.dumps(self._spawn_request).encode())
            fds = (channel.fileno(), self._lifeline_fd, spec_fd)
            for fd in fds:
                os.set_inheritable(fd, True)  # noqa: FBT003 - the signature of the standard library
            command: list[str] = self._spawn_request["command"]
            arguments = [*command, "worker", *fds, packet["slot"], packet["nice"]]
            os.execv(command[0], [str(argument) for argument in arguments])  # noqa: S606
        finally:
            os._exit(EXIT_BOOT_FAILED)

    def _reap(self, packet: dict[str, Any]) -> None:
        faultpoints.hit("forkserver_before_reap")
        answer = {"event": "reaped", "ticket": packet["ticket"], "status": None, "peak_rss_bytes": None}
        with contextlib.suppress(ChildProcessError):
            pid, status, usage = os.wait4(packet["pid"], os.WNOHANG)
            if pid:
                answer |= {"status": status, "peak_rss_bytes": usage.ru_maxrss * 1024}
        faultpoints.hit("forkserver_after_reap")
        send(self._control, answer)


def _discard(pid: int) -> None:
    """End a worker that the supervisor can't take over. It is our child and unreaped, so the pid is still its own."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def become_forkserver(control: socket.socket, lifeline_fd: int, runner: Runner) -> NoReturn:
    """Turn a fresh fork of the host program into a forkserver that makes more of its kind, and never return."""
    status = 1
    try:
        os.setsid()
        forget_parent()
        _settle_in("workd-forkserver", lifeline_fd)
        _Forkserver(control, lifeline_fd, runner).serve()
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the supervisor went away between two packets
    except BaseException:  # noqa: BLE001 - the last frame of the process: nothing may escape into the host program
        print_exception()
    finally:
        flush_streams()
        os._exit(status)


def forget_parent() -> None:
    """Drop what a fork of the host program inherits and must not use, as multiprocessing does for its own."""
    from multiprocessing import process, util

    signal.set_wakeup_fd(-1)
    process._children.clear()  # type: ignore[attr-defined]  # noqa: SLF001
    util._finalizer_registry.clear()  # type: ignore[attr-defined]  # noqa: SLF001
    util._run_after_forkers()  # type: ignore[attr-defined]  # noqa: SLF001
    util._close_stdin()  # type: ignore[attr-defined]  # noqa: SLF001
    gc.freeze()


def _settle_in(title: str, lifeline_fd: int) -> None:
    set_title(title)
    ignore_signals()
    lifeline.arm(lifeline_fd)


def _be_spawned(argv: list[str], *, collects: bool) -> NoReturn:
    """Be a worker in an interpreter of its own: everything is loaded here."""
    from workd.pool.child.worker import become_worker

    channel_fd, lifeline_fd, spec_fd, slot, nice = map(int, argv)
    for fd in (channel_fd, lifeline_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003 - the signature of the standard library

    def make_runner() -> Runner:
        return _load(json.loads(frames.read_body(spec_fd)), _ignore, collects=collects)[0]

    become_worker(slot, socket.socket(fileno=channel_fd), lifeline_fd, nice, make_runner)


def _ignore(module: str) -> None:
    """Tell nobody."""


def main(argv: list[str], *, collects: bool = False) -> NoReturn:
    """Serve the control socket until the supervisor closes it; with `worker` as first argument, be a worker.

    `collects`: the garbage collector was enabled, and is to be again before user code runs.
    """
    if argv[1] == "worker":
        _be_spawned(argv[2:], collects=collects)
    control_fd, lifeline_fd = int(argv[1]), int(argv[2])
    _settle_in("workd-forkserver", lifeline_fd)
    os.set_inheritable(control_fd, False)  # noqa: FBT003 - the signature of the standard library
    os.set_inheritable(lifeline_fd, False)  # noqa: FBT003
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)  # the supervisor went away between two packets
    with gone, socket.socket(fileno=control_fd) as control:
        _Forkserver(control, lifeline_fd, collects=collects).serve()
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv)
