"""Producers: enqueue jobs and wait for what comes of them.

    Client.enqueue ──▶ message ──▶ link ──XADD──▶ workd:{queue}:stream ──▶ a daemon
                                                                             │ settle
    Handle.get ◀── replies (table) ◀── reader ◀──XREAD── workd:{queue}:reply:<name>
        └──────────────── GET ◀──────────────────────── workd:{queue}:result:<id>

    message.py         what was given to enqueue, as the bytes of one message (pure)
    commands.py        the Redis commands a producer sends and the shapes of their answers (pure)
    outcomes.py        an outcome as the value or the exception that people get (pure)
    replies.py         which outcomes have come and who waits for which (no I/O)
    connection.py      one socket: bytes out, answers in, within a deadline
    link.py            one command, one answer, one deadline, over kept connections
    sending.py, sender.py     how often and how surely a call is sent, so that its jobs are queued once
    durability.py      whether what was queued would outlast a crash of the server (pure)
    reader.py          the thread that reads reply streams
    handle.py          Handle: one job, seen from its producer
    sync.py            Client
    gathering.py       many handles waited for at once
    async_*.py         the same for asyncio; async_dialing.py chooses between the addresses of a name
    redis_pool.py, pool_results.py, pool_progress.py     the standard library's Pool, on a fleet
    groups.py          chains and groups, as people write them (pure)
    group_messages.py  the messages that they become (pure)
    group_calls.py     the commands about groups (pure)
    group_sync.py, group_handle.py, group_async.py       enqueueing them, and the handles of groups

This file imports nothing: `workd` finds the names in their modules when they are asked for.
"""
