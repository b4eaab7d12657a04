"""`workd demo`: the main job, end to end, on a real server with real processes, told as it happens.

`workd.cli.demo` is the one caller. `show` tells the story; `stage` starts and ends the processes; `interrupts` makes
an end of it when told to; `race` is the introduction's example four times, one of its `ways` in each process; `chores`
are the real jobs; `site` is the web site that is scraped; `victim` finds the worker to kill; `tally` compares what
Redis recorded with what was promised; `screen` is what people see.

Nothing here is used by the daemon, and nothing here reaches into it: the demo does what any producer and any
administrator could do.
"""
