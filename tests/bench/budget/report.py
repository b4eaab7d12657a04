"""The tables of the budget."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.budget import groups
from bench.budget.redis_cost import SENT_BY_DAEMONS
from bench.budget.samples import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.budget.groups import Rule
    from bench.budget.samples import Sample
    from bench.processes import Cpu
    from bench.through_redis import Drain

LAYOUT = "{:52} {:>9} {:>6} {:>12} {:>7}"
MICRO = 1e6
MOST = 0.95  # of the samples: a function that is on the way of more is the program itself


def show_process(title: str, found: Sequence[Sample], cpu: Cpu, jobs: int, rules: tuple[Rule, ...]) -> None:
    """Print where the CPU time `cpu` of a process went, by its samples."""
    shares = Shares(found, lambda sample: (groups.group_of(sample, rules),))
    print(f"\n{LAYOUT.format(title, 'us/job', '±', 'of it kernel', 'share')}")
    for name in groups.order(rules):
        if name in shares.groups:
            _show(name, shares, cpu, jobs)
    whole, kernel = cpu.total_s / jobs * MICRO, cpu.kernel_s / jobs * MICRO
    print(LAYOUT.format("", f"{whole:.1f}", "", f"{kernel:.1f}", "100 %"))


def show_dearest(found: Sequence[Sample], cpu: Cpu, jobs: int, count: int) -> None:
    """Print the dearest functions, each with all that it calls, and the dearest lines by themselves."""
    for title, names_of in (("Functions, with what they call", groups.functions_of), ("Lines", groups.lines_of)):
        shares = Shares(found, names_of)
        print(f"\n{LAYOUT.format(title, 'us/job', '±', 'of it kernel', 'share')}")
        names = [name for name, share in shares.groups.items() if share.ticks < MOST * shares.total.ticks]
        for name in sorted(names, key=lambda name: -shares.groups[name].ticks)[:count]:
            _show(name, shares, cpu, jobs)


def _show(name: str, shares: Shares, cpu: Cpu, jobs: int) -> None:
    """Print one line. User and kernel time are each divided by the samples of their own clock."""
    share, total = shares.groups[name], shares.total
    whole = share.ticks / total.ticks * cpu.total_s / jobs * MICRO
    error = whole / math.sqrt(share.ticks) if share.ticks else 0.0
    user = share.user_ticks / max(1, total.user_ticks) * cpu.user_s / jobs * MICRO
    kernel = min(whole, max(0.0, whole - user))
    part = share.ticks / total.ticks
    print(LAYOUT.format(name[:52], f"{whole:.2f}", f"{error:.2f}", f"{kernel:.1f}", f"{part:.1%}"))


def show_redis(drain: Drain) -> None:
    """Print what the server's commands took, those in scripts by themselves."""
    jobs, work, cpu = drain.jobs, drain.redis_work, drain.redis
    inner_us = sum(command.time_us for name, command in work.commands.items() if name not in SENT_BY_DAEMONS)
    own_us = {name: command.time_us for name, command in work.commands.items()}
    for name in ("evalsha", "eval"):
        if name in own_us:  # what its script called is in there
            own_us[name] = max(0, own_us[name] - inner_us)
    scale = min(1.0, cpu.total_s * MICRO / max(1, sum(own_us.values())))
    print(f"\n{LAYOUT.format('Redis', 'us/job', '', 'calls/job', 'share')}")
    for name in sorted(own_us, key=lambda name: -own_us[name]):
        if own_us[name] * scale / jobs >= 0.01:
            text = f"{name}: the script without its calls" if name in {"evalsha", "eval"} else name
            _show_command(text, own_us[name] * scale, work.commands[name].calls, drain)
    rest_us = cpu.total_s * MICRO - sum(own_us.values()) * scale
    _show_command("epoll, reading, parsing, answering, expiry", rest_us, work.calls, drain)
    print(LAYOUT.format("", f"{cpu.total_s / jobs * MICRO:.1f}", "", f"{work.calls / jobs:.3f}", "100 %"))
    print(f"its commands took {1 / scale:.2f} times as long by the clock on the wall" if scale < 1 else "", end="\n")


def _show_command(text: str, time_us: float, calls: int, drain: Drain) -> None:
    part = time_us / MICRO / drain.redis.total_s
    print(LAYOUT.format(text, f"{time_us / drain.jobs:.2f}", "", f"{calls / drain.jobs:.3f}", f"{part:.1%}"))


def show_total(drain: Drain) -> None:
    """Print the sum."""
    sides = {"supervisor": drain.supervisor, "workers": drain.workers, "Redis": drain.redis}
    whole = sum((cpu.total_s for cpu in sides.values()), 0.0) / drain.jobs * MICRO
    parts = " + ".join(f"{name} {cpu.total_s / drain.jobs * MICRO:.1f}" for name, cpu in sides.items())
    print(f"\n{whole:.1f} us a job: {parts}")
