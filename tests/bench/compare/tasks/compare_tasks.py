"""The task of the drains that are compared: the same code for every revision, found through PYTHONPATH."""

from workd import task


@task
def noop() -> None:
    """Do nothing."""
