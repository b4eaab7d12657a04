"""What runs here at this moment, and where: for `workd inspect`, `workd stacks`, and SIGUSR2.

Asked by `answering` and by the supervisor, in its loop. Nothing is counted or kept while nobody asks. All of it is
bounded: rows, stacks, and how much is done in one turn of the loop.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final

from workd import source_lines
from workd.control_wire import RunningJob, Stack, WorkerStacks
from workd.log import get_logger
from workd.pool import processes
from workd.pool.slot import TenantState
from workd.pool.xray import Xray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workd.flights import Flight
    from workd.pool.core import ProcessPool
    from workd.pool.processes import Usage
    from workd.pool.slot import Job, Tenant

    Wanted = Callable[[Job], bool]

SAMPLE_S: Final = 0.2  # over which the use of a core is measured; the kernel counts in hundredths of a second
MOST_JOBS: Final = 2_000
MOST_WORKERS: Final = 500  # whose stacks are shown at once
SHOWN_OF_A_WORKER: Final = 200  # jobs, beside its stacks
_A_TURN: Final = 16  # processes that are looked at in one turn of the loop
_ROWS_A_TURN: Final = 50
_LINES_A_TURN: Final = 8  # of the log
_SHOWN_FRAMES: Final = 40  # of a stack, in the log
_SHOWN_STACKS: Final = 50

log = get_logger("workd.xray")


def _any(_job: Job) -> bool:
    return True


class Inspector:
    """Looks at the workers of one pool, and at what they run."""

    def __init__(self, pool: ProcessPool) -> None:
        """Look at nothing yet."""
        self._pool = pool
        self._xray = Xray()
        self._loop = asyncio.get_running_loop()
        self._writing: asyncio.Task[None] | None = None

    def counts(self) -> tuple[int, int]:
        """Return how many jobs run, and how many are here and have not started."""
        running = sum(len(_heads(tenant)) for tenant in self._pool.tenants())
        return running, len(self._pool.running()) - running + len(self._pool.waiting)

    async def jobs(self, wanted: Wanted = _any) -> tuple[list[RunningJob], int]:
        """Return the wanted jobs that run, the longest first, and how many more there are than can be shown."""
        found = [(tenant, job, beside) for tenant, job, beside in self._running() if wanted(job)]
        found.sort(key=lambda one: _since(*one[:2]))
        shown = found[:MOST_JOBS]
        used = await self._usage({tenant.pid for tenant, *_ in shown})
        now, rows = self._loop.time(), []
        for number, (tenant, job, beside) in enumerate(shown, 1):
            rows.append(_describe(tenant, job, beside, used, now))
            if number % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
        return rows, len(found) - len(shown)

    async def stacks(self, wanted: Wanted = _any, *, sources: bool = True) -> tuple[list[WorkerStacks], int]:
        """Return where the workers are that run wanted jobs, and how many more there are than can be shown."""
        found = list(dict.fromkeys(tenant for tenant, job, _ in self._running() if wanted(job)))
        shown = found[:MOST_WORKERS]
        used = await self._usage({tenant.pid for tenant in shown})
        looks = await asyncio.gather(*(self._look(tenant, wanted, used) for tenant in shown))
        return await _with_sources(looks) if sources else list(looks), len(found) - len(shown)

    def write_to_log(self) -> asyncio.Task[None]:
        """Write into the log what runs and where it is, a line a job and one a worker; one such writing at a time."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())
        return self._writing

    async def _write(self) -> None:
        try:
            await self._write_all()
        except Exception:
            log.exception("the x-ray could not be written")

    async def _write_all(self) -> None:
        rows, more = await self.jobs()
        for number, row in enumerate(rows, 1):
            facts = {"job_id": row.id, "task": row.task, "queue": row.queue, "delivery": row.delivery}
            use = {"rss_bytes": row.rss_bytes, "cpu_percent": row.cpu_percent}
            log.info("x-ray: a job runs", worker_pid=row.pid, seconds=row.seconds, **facts, **use)
            if number % _LINES_A_TURN == 0:
                await asyncio.sleep(0)
        workers, unseen = await self.stacks()
        for worker in workers:
            said = {"note": worker.note or None, "kernel": worker.kernel or None, "stacks": as_text(worker.stacks)}
            facts = {"worker_pid": worker.pid, "slot": worker.slot, "job_ids": [job.id for job in worker.jobs][:20]}
            log.info("x-ray: where a worker is", **facts, **{name: text for name, text in said.items() if text})
            await asyncio.sleep(0)
        running, buffered = self.counts()
        log.info("x-ray", running=running, buffered=buffered, workers=self._pool.size, left_out=more + unseen)

    def _running(self) -> Iterator[tuple[Tenant, Job, int]]:
        """Yield each worker and job, with how many jobs the worker runs."""
        for tenant in self._pool.tenants():
            heads = _heads(tenant)
            for job in heads:
                yield tenant, job, len(heads)

    async def _usage(self, pids: Iterable[int]) -> dict[int, tuple[Usage, float]]:
        """Return what each process uses, and the share of a core that it has used over a moment, in percent."""
        before = await self._sample(pids)
        began = self._loop.time()
        await asyncio.sleep(SAMPLE_S if before else 0.0)
        after = await self._sample(before)
        took_s = max(self._loop.time() - began, SAMPLE_S)
        return {
            pid: (used, round(100 * max(0.0, used.cpu_s - before[pid].cpu_s) / took_s, 1))
            for pid, used in after.items()
        }

    async def _sample(self, pids: Iterable[int]) -> dict[int, Usage]:
        found: dict[int, Usage] = {}
        for number, pid in enumerate(list(pids), 1):
            if (used := processes.usage(pid)) is not None:
                found[pid] = used
            if number % _A_TURN == 0:
                await asyncio.sleep(0)
        return found

    async def _look(self, tenant: Tenant, wanted: Wanted, used: dict[int, tuple[Usage, float]]) -> WorkerStacks:
        look = await self._xray.look(tenant)
        now, jobs = self._loop.time(), _heads(tenant)
        by_key = {job.key: job for job in jobs}
        stacks = []
        for number, stack in enumerate(look.stacks, 1):
            if stack.key not in by_key:
                stacks.append(stack)
            elif wanted(job := by_key[stack.key]):
                stacks.append(stack.model_copy(update={"job": job.ref.job_id}))
            if number % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
        shown = list(islice((job for job in jobs if wanted(job)), SHOWN_OF_A_WORKER))
        return WorkerStacks(
            pid=tenant.pid,
            slot=tenant.slot.index,
            jobs=tuple(_describe(tenant, job, len(jobs), used, now) for job in shown),
            stacks=tuple(stacks),
            how=look.how,
            note=look.note,
            kernel=look.kernel,
        )


def _heads(tenant: Tenant) -> list[Job]:
    """Return the jobs that a worker is on; what waits behind them has not started."""
    if tenant.shares is not None:
        return [job for job in tenant.jobs.values() if job is not tenant.shares.tail]
    return [tenant.head] if tenant.head is not None and tenant.state is not TenantState.BOOTING else []


def _since(tenant: Tenant, job: Job) -> float:
    return job.since if tenant.shares is not None else tenant.head_since


def _describe(tenant: Tenant, job: Job, beside: int, used: dict[int, tuple[Usage, float]], now: float) -> RunningJob:
    flight: Flight = job.ref
    usage, percent = used.get(tenant.pid, (None, 0.0))
    return RunningJob(
        id=flight.job_id,
        task=job.task,
        queue=flight.entry.queue,
        pid=tenant.pid,
        slot=tenant.slot.index,
        seconds=round(max(0.0, now - _since(tenant, job)), 3),
        attempt=flight.entry.counters.attempts + 1,
        delivery=flight.delivery,
        rss_bytes=usage.rss_bytes if usage is not None else 0,
        cpu_percent=percent,
        state=usage.state if usage is not None else "",
        shared_by=beside,
    )


async def _with_sources(workers: Iterable[WorkerStacks]) -> list[WorkerStacks]:
    """Add the text of each line that can be had."""
    found = list(workers)
    frames = {(frame.file, frame.line) for worker in found for stack in worker.stacks for frame in stack.frames}
    texts = await source_lines.read(frames) if frames else {}
    told = []
    for worker in found:
        stacks = []
        for number, stack in enumerate(worker.stacks, 1):
            stacks.append(_told(stack, texts))
            if number % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
        told.append(worker.model_copy(update={"stacks": tuple(stacks)}))
    return told


def _told(stack: Stack, texts: dict[source_lines.Place, str]) -> Stack:
    frames = tuple(
        frame.model_copy(update={"source": text}) if (text := texts.get((frame.file, frame.line))) else frame
        for frame in stack.frames
    )
    return stack.model_copy(update={"frames": frames})


def as_text(stacks: Iterable[Stack]) -> str:
    """Write stacks for people, the innermost call first."""
    lines: list[str] = []
    for stack in list(stacks)[:_SHOWN_STACKS]:
        whose = f" of job {stack.job}" if stack.job else ""
        lines.append(f"{stack.kind} {stack.name}{whose}:")
        for frame in stack.frames[:_SHOWN_FRAMES]:
            lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
            if frame.source:
                lines.append(f"    {frame.source}")
        if not stack.frames:
            lines.append("  in none of the task's code")
    return "\n".join(lines)
