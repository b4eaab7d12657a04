"""The story: start, four ways side by side, real jobs with a worker killed among them, drain, sum.

Called by `workd.cli.demo`. Every step shows what it does and raises `DemoError` when anything differs from what was
promised. However the demo ends, the exit stack ends what was started.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from workd.client.sync import Client
from workd.demo import race, victim
from workd.demo.chores import HELD_PAGE, KINDS, Chores
from workd.demo.interrupts import Interrupts
from workd.demo.site import Site
from workd.demo.stage import MODULE, WORKERS, Stage
from workd.demo.tally import DemoError, Tally, expect
from workd_tasks.samples import scrape_page

if TYPE_CHECKING:
    import subprocess

    import redis

    from workd.demo.chores import Chore
    from workd.demo.screen import Bars, Screen
    from workd.demo.site import Gate

LIMIT_S: Final = 180  # on a machine that does nothing else it takes a tenth of this
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Scene:
    """Who takes part once everything is up."""

    stage: Stage
    screen: Screen
    store: redis.Redis
    daemon: subprocess.Popen[bytes]
    site: Site
    client: Client


@dataclass(frozen=True, slots=True)
class Killed:
    """A worker that was killed, and when (epoch seconds)."""

    pid: int
    at_s: float


def run(screen: Screen, count: int) -> dict[str, float]:
    """Run the demo with `count` real jobs of each kind, and return what Redis has recorded, and the seconds it took.

    Raises `DemoError`, or KeyboardInterrupt at any signal.
    """
    began_s = time.monotonic()
    started: list[int] = []
    interrupts = Interrupts()
    with interrupts.listening(LIMIT_S, lambda: _too_late(screen)), ExitStack() as stack:
        stage = Stage(stack, interrupts)
        try:
            scene = _start(stage, screen, stack)
            race.run(stage, screen)
            killed_job_id = _work(scene, Chores(stage.folder, scene.site, count))
            started += victim.descendants(os.getpid())
            _drain(scene)
            jobs = len(race.SQUARES) + len(KINDS) * count + WORKERS
            took_s = time.monotonic() - began_s
            tally = _sum_up(screen, Tally.read(scene.store), took_s)
            tally.check(jobs, killed_job_id)
        except DemoError:
            for line in stage.last_words():
                screen.say(line, style="dim")
            raise
        finally:
            interrupts.ignore()
    expect(victim.running(started), [], "processes left behind")
    screen.say("")
    screen.say("All as promised. No process and no file is left behind.", style="green")
    return tally.figures() | {"seconds": round(took_s, 1)}


def _too_late(screen: Screen) -> DemoError:
    return DemoError(f"the demo failed: not over after {LIMIT_S} s, in '{screen.step}'")


def _start(stage: Stage, screen: Screen, stack: ExitStack) -> Scene:
    screen.heading("workd demo: a Valkey server, a daemon and a producer, started for you")
    began_s = time.monotonic()
    store = stage.start_valkey()
    information: Any = store.info("server")
    screen.say(f"Valkey {information.get('valkey_version', '')} listens on {stage.url}")
    daemon = stage.start_daemon()
    took_s = time.monotonic() - began_s
    screen.say(f"workd run {MODULE} --workers {WORKERS}: pid {daemon.pid}, ready {took_s:.1f} s after the start")
    screen.heading("1. f(x) sleeps 2 seconds and prints x*x, for 1, 2, 3, 4: four ways at once")
    site = stack.enter_context(stage.entered(Site()))
    client = stack.enter_context(Client(stage.url))
    return Scene(stage, screen, store, daemon, site, client)


# ── the real jobs ───────────────────────────────────────────────────────────────────────────────────────────────────


def _work(scene: Scene, chores: Chores) -> str:
    """Run the real jobs and kill a worker in the middle of one; return that job's id."""
    gate = scene.site.gate(HELD_PAGE)
    total = len(KINDS) * chores.count
    scene.screen.heading(f"2. {total} real jobs through Redis and the daemon")
    began_s = time.monotonic()
    todo = chores.enqueue(scene.client)
    with scene.stage.entered(scene.screen.bars(dict.fromkeys(KINDS, chores.count))) as bars:
        held, killed = _run_through(scene, todo, gate, bars)
    chores.check([(chore, chore.handle.outcome()) for chore in todo])
    again = held.handle.outcome()
    expect(again.deliveries, 2, f"runs of the job of worker {killed.pid}, which was killed")
    waited_s = (again.started_at or again.ended_at) - killed.at_s
    scene.screen.say(f"{total} jobs in {time.monotonic() - began_s:.1f} s; their files, sums and titles are right")
    scene.screen.say(
        f"the killed worker's job went back into the queue, behind the others, and ran again {waited_s:.1f} s later"
    )
    return held.handle.id


def _run_through(scene: Scene, todo: list[Chore], gate: Gate, bars: Bars) -> tuple[Chore, Killed]:
    """Wait for all jobs, the one whose page is held for last; kill its worker when a third of the others is done."""
    held = next(chore for chore in todo if chore.subject == HELD_PAGE)
    done = dict.fromkeys(KINDS, 0)
    killed: Killed | None = None
    others = [chore for chore in todo if chore is not held]
    for number, chore in enumerate([*others, held]):
        if killed is None and number >= len(others) // 3:
            killed = _kill_a_worker(scene, gate)
        chore.handle.outcome()
        done[chore.kind] += 1
        bars.at(chore.kind, done[chore.kind])
    if killed is None:
        raise AssertionError("there were no jobs")
    return held, killed


def _kill_a_worker(scene: Scene, gate: Gate) -> Killed:
    """Kill the worker whose request the site is holding: it is in the middle of that job, and nowhere else."""
    port = gate.visitors.get()
    pid = victim.pid_of_connection(port, scene.site.port, scene.daemon.pid)
    if pid is None:
        raise DemoError("the demo failed: no worker of the daemon holds the connection that the site is holding")
    os.kill(pid, signal.SIGKILL)
    killed = Killed(pid, time.time())
    gate.open()
    scene.screen.heading(f"3. SIGKILL to worker {pid}, in the middle of scraping {scene.site.url(HELD_PAGE)}")
    return killed


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _drain(scene: Scene) -> None:
    """Tell the daemon to stop while every worker is in the middle of a job, and let the jobs finish."""
    scene.screen.heading("4. SIGTERM to the daemon, with a job running on each worker")
    gate = scene.site.gate("/last")
    for number in range(WORKERS):
        scene.client.enqueue(scrape_page, scene.site.url(f"/last/{number}"))
    for _ in range(WORKERS):
        gate.visitors.get()
    began_s = time.monotonic()
    scene.daemon.send_signal(signal.SIGTERM)
    while scene.stage.health().get("state") != "draining":
        if scene.daemon.poll() is not None:
            raise DemoError(f"the demo failed: the daemon ended with code {scene.daemon.returncode}, jobs were running")
        time.sleep(_POLL_S)
    scene.screen.say(f"it drains: it fetches nothing more and waits for {WORKERS} jobs")
    gate.open()
    expect(scene.daemon.wait(), 0, "the daemon's exit code")
    scene.screen.say(f"it ended with exit code 0, {time.monotonic() - began_s:.1f} s after the signal")


def _sum_up(screen: Screen, tally: Tally, took_s: float) -> Tally:
    screen.heading("What Redis has recorded")
    for name, figure, meaning in (
        ("jobs", tally.jobs, "that have an outcome"),
        ("succeeded", tally.succeeded, ""),
        ("deliveries", tally.deliveries, "runs that were started"),
        ("redeliveries", tally.deliveries - tally.jobs, "runs more than one of a job: the killed worker's"),
        ("dead letters", tally.dead_letters, ""),
        ("still queued", tally.left, ""),
        ("seconds", f"{took_s:.1f}", "for all of the above"),
    ):
        screen.say(f"{name:<13}{figure:>6}   {meaning}".rstrip())
    return tally
