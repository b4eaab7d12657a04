"""The command line: one file per command, `app.py` puts them together, `options.py` makes flags of the settings.

`workd.__main__` is the one caller. This file imports nothing, so that `workd health` starts at once.
"""
