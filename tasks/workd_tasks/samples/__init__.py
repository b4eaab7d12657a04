"""Ordinary tasks, to run, to measure with and to copy from.

    workd run workd_tasks.samples

registers all of them. The heavy libraries (Pillow, httpx) are imported inside the tasks that need them.
"""

from workd_tasks.samples.accounts import update_account
from workd_tasks.samples.images import resize_image
from workd_tasks.samples.numbers import add, noop, sleep, slow_square, square
from workd_tasks.samples.pages import scrape_page

__all__ = ["add", "noop", "resize_image", "scrape_page", "sleep", "slow_square", "square", "update_account"]
