"""The calls of `workd.Pool` in the program that makes them: the standard library's API over the core."""
