"""`workd stacks`: where running jobs are in their code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workd.cli import fleet
from workd.cli import looking_after as shared
from workd.cli.fleet import Daemons, JobQueues, Tasks, WaitS
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit

if TYPE_CHECKING:
    from workd.control_wire import Stack, WorkerStacks

_MOST_JOBS = 20


def stacks(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="the id of a running job; without one, all", show_default=False)
    ] = "",
    daemon: Daemons = None,
    queue: JobQueues = None,
    task: Tasks = None,
    wait_s: WaitS = 10.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """Show where running jobs are in their code.

    Workers go on meanwhile. Shown are all threads of a worker and the coroutines that wait in it, the innermost call
    last, also while C code holds the interpreter's lock. A worker that cannot answer is shown with what the kernel
    says of it. Exit code 1: the job does not run, or not everybody answered.

    Example: workd stacks

    Example: workd stacks 1767225600000-0
    """
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.stacks(job, daemons=daemon or (), queues=queue or (), tasks=task or (), wait_s=wait_s)
    workers = [(answer.daemon, worker) for answer in heard.answers for worker in answer.stacks]
    if as_json:
        shown = [{"daemon": name, **worker.model_dump(mode="json")} for name, worker in workers]
        states = [fleet.state_of(answer) for answer in heard.answers]
        shared.echo_json(fleet.document(heard, states, workers=shown))
    else:
        for name, worker in workers:
            shared.say(_describe(name, worker))
    code = fleet.end(heard)
    if job and not workers and heard.answers:
        shared.note(f"job {job} does not run on any daemon that answered")
        return Exit.FAILURE
    return code


def _describe(daemon: str, worker: WorkerStacks) -> str:
    """Write what is known of one worker."""
    lines = [f"worker {worker.pid} of {daemon}, slot {worker.slot}"]
    lines += [f"  {job.task}, job {job.id}, for {shared.span(job.seconds)}" for job in worker.jobs[:_MOST_JOBS]]
    if (more := max(job.shared_by for job in worker.jobs) - _MOST_JOBS if worker.jobs else 0) > 0:
        lines.append(f"  and {more} jobs more")
    if worker.note:
        lines.append(f"  ({worker.note})")
    alike: dict[object, list[Stack]] = {}
    for stack in worker.stacks:  # a thousand coroutines are mostly in the same few places
        alike.setdefault((stack.kind, stack.frames), []).append(stack)
    for first, *others in alike.values():
        lines += _stack(first, len(others))
    if worker.kernel:
        lines += ["  in the kernel:", *(f"    {line}" for line in worker.kernel.splitlines())]
    return "\n".join((*lines, ""))


def _stack(stack: Stack, others: int) -> list[str]:
    """Write one stack as a traceback has it, the innermost call last; so many others are in the same place."""
    whose = f", job {stack.job}" if stack.job else ""
    more = f", and {others} more in the same place" if others else ""
    lines = [f"  {stack.kind} {stack.name}{whose}{more}"]
    if not stack.frames:
        lines.append("    in none of the task's code")
    for frame in reversed(stack.frames):
        lines.append(f'    File "{frame.file}", line {frame.line or "?"}, in {frame.function}')
        if frame.source:
            lines.append(f"      {frame.source}")
    return lines
