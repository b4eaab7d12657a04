"""Everything that knows Redis: key names, entries, the Lua scripts, and the session that a dispatcher works with."""
