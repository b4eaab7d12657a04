"""workd: a pool of worker processes that survives its tasks, on one machine or fed from Redis.

    from workd import task, Client, RedisPool, Pool

Names are loaded when they are first used (PEP 562): a module that only says `from workd import task` loads
neither redis nor uvloop, and a worker that imports it stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workd.client.admin import Admin
    from workd.client.async_client import AsyncClient
    from workd.client.group_async import AsyncGroupHandle
    from workd.client.group_calls import GroupProgress
    from workd.client.group_handle import GroupHandle, GroupSummary
    from workd.client.groups import Chain, Group, Step, chain, group, step
    from workd.client.handle import AsyncHandle, Handle
    from workd.client.redis_pool import RedisPool
    from workd.client.sync import Client
    from workd.errors import (
        BootError,
        BrokerError,
        BrokerUnavailableError,
        CallCancelledError,
        ClientError,
        DeadLetterError,
        EnqueueTimeoutError,
        FencedError,
        GroupEndedError,
        InvalidJobError,
        InvalidMessageError,
        InvalidResultError,
        JobCancelledError,
        JobExpiredError,
        JobFailedError,
        JobTimeoutError,
        MemoryLimitError,
        MessageError,
        NotDurableError,
        PoolClosedError,
        PoolError,
        ResultGoneError,
        ResultTimeoutError,
        ServerUnavailableError,
        SettingsError,
        UnknownVersionError,
        WorkdError,
        WorkerDiedError,
        WrongKeyTypeError,
    )
    from workd.pool.local import Pool
    from workd_tasks import (
        Context,
        HookError,
        Reject,
        Retry,
        SoftTimeout,
        after_task,
        around_task,
        before_task,
        context,
        on_failure,
        on_worker_start,
        on_worker_stop,
        task,
    )

    __version__: str

__all__ = [
    "Admin",
    "AsyncClient",
    "AsyncGroupHandle",
    "AsyncHandle",
    "BootError",
    "BrokerError",
    "BrokerUnavailableError",
    "CallCancelledError",
    "Chain",
    "Client",
    "ClientError",
    "Context",
    "DeadLetterError",
    "EnqueueTimeoutError",
    "FencedError",
    "Group",
    "GroupEndedError",
    "GroupHandle",
    "GroupProgress",
    "GroupSummary",
    "Handle",
    "HookError",
    "InvalidJobError",
    "InvalidMessageError",
    "InvalidResultError",
    "JobCancelledError",
    "JobExpiredError",
    "JobFailedError",
    "JobTimeoutError",
    "MemoryLimitError",
    "MessageError",
    "NotDurableError",
    "Pool",
    "PoolClosedError",
    "PoolError",
    "RedisPool",
    "Reject",
    "ResultGoneError",
    "ResultTimeoutError",
    "Retry",
    "ServerUnavailableError",
    "SettingsError",
    "SoftTimeout",
    "Step",
    "UnknownVersionError",
    "WorkdError",
    "WorkerDiedError",
    "WrongKeyTypeError",
    "__version__",
    "after_task",
    "around_task",
    "before_task",
    "chain",
    "context",
    "group",
    "on_failure",
    "on_worker_start",
    "on_worker_stop",
    "step",
    "task",
]

_ELSEWHERE = {
    "Admin": "workd.client.admin",
    "AsyncClient": "workd.client.async_client",
    "AsyncHandle": "workd.client.handle",
    "Client": "workd.client.sync",
    "Handle": "workd.client.handle",
    "RedisPool": "workd.client.redis_pool",
    "Pool": "workd.pool.local",
    "Context": "workd_tasks",
    "Reject": "workd_tasks",
    "Retry": "workd_tasks",
    "SoftTimeout": "workd_tasks",
    "HookError": "workd_tasks",
    "after_task": "workd_tasks",
    "around_task": "workd_tasks",
    "before_task": "workd_tasks",
    "context": "workd_tasks",
    "on_failure": "workd_tasks",
    "on_worker_start": "workd_tasks",
    "on_worker_stop": "workd_tasks",
    "task": "workd_tasks",
    "AsyncGroupHandle": "workd.client.group_async",
    "Chain": "workd.client.groups",
    "Group": "workd.client.groups",
    "GroupHandle": "workd.client.group_handle",
    "GroupProgress": "workd.client.group_calls",
    "GroupSummary": "workd.client.group_handle",
    "Step": "workd.client.groups",
    "chain": "workd.client.groups",
    "group": "workd.client.groups",
    "step": "workd.client.groups",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that owns it; whatever is not listed there is an error."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("workd")
    else:
        from importlib import import_module

        value = getattr(import_module(_ELSEWHERE.get(name, "workd.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
