"""`workd.Pool` with the one internal of CPython's that its cases call and programs do not."""

from __future__ import annotations

from workd import Pool


class PoolWithCPythonsInternals(Pool):
    """The pool under test. What is `_state` and `_pool` of CPython's, `workd.Pool` has itself."""

    def _repopulate_pool(self) -> None:
        """Do nothing: there, workers that have gone are replaced when somebody looks; here, when they go."""
