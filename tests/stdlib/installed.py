"""The test cases of `test._test_multiprocessing`, made for this interpreter's start method.

As CPython's own `test_multiprocessing_spawn.py` and its like do it; a module of its own, since workers import the
classes by name.
"""

from __future__ import annotations

import multiprocessing
from importlib import import_module

_cases = import_module("test._test_multiprocessing")  # no type hints exist for it
_cases.install_tests_in_module_dict(globals(), multiprocessing.get_start_method())
