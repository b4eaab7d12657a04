"""Spans of OpenTelemetry: of sending a job, of its wait, and of its run.

    producer                        envelope                           worker
    send resize ──traceparent──▶ field `trace` ──┬── wait resize (from its first enqueue to its first run)
                                                 └── run resize  (each run; current while the task runs)

Nothing of OpenTelemetry is imported before somebody wants it: a producer that has loaded its API, or a daemon whose
environment names an exporter. The supervisor has no part in this.
"""
