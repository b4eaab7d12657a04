"""`workd doctor`: what may be wrong around a daemon, and what to do about it. One file for each thing to look at.

A check gets what it needs as arguments and returns findings; it changes nothing anywhere. `rounds.py` calls them all.
"""
