"""A program that enqueues jobs under spans of its own, and prints what it has recorded: one JSON object.

python traced_producer.py URL sync|async
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from workd import AsyncClient, Client, group, step

GIVEN = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def enqueue(url: str) -> dict[str, list[str]]:
    """Enqueue in each way there is; return the jobs' ids by way."""
    with Client(url) as client:
        return {
            "one": [client.enqueue("ids").id],
            "loop": [client.enqueue("ids_in_loop").id],
            "retried": [client.enqueue("at_last", 1).id],
            "asked": [client.enqueue("again").id],
            "refused": [client.enqueue("refuse").id],
            "many": [handle.id for handle in client.enqueue_many("ids", [(), ()])],
            "chain": [client.enqueue_chain(step("add", 1).then("add", 2).then("add", 3)).id],
            "group": [client.enqueue_group(group(step("add", 1), step("add", 2), then=step("total"))).id],
            "given": [client.with_options(trace={"traceparent": GIVEN}).enqueue("ids").id],
            "inside": [client.enqueue("send_another", url).id],
        }


async def enqueue_async(url: str) -> dict[str, list[str]]:
    """Do some of it in an event loop."""
    async with AsyncClient(url) as client:
        return {
            "one": [(await client.enqueue("ids")).id],
            "many": [handle.id for handle in await client.enqueue_many("ids", [(), ()])],
            "group": [(await client.enqueue_group(group(step("add", 1), step("add", 2), then=step("total")))).id],
        }


def main(url: str, how: str) -> None:
    """Enqueue under one span, and print everything."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    with trace.get_tracer("test").start_as_current_span("request"):
        jobs = enqueue(url) if how == "sync" else asyncio.run(enqueue_async(url))
    sys.stdout.write(json.dumps({"jobs": jobs, "spans": [_plain(span) for span in kept.get_finished_spans()]}))


def _plain(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "kind": span.kind.name,
        "attributes": dict(span.attributes or {}),
        "is_error": span.status.status_code.name == "ERROR",
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
