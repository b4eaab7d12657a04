"""The real jobs: images to resize, payments to book, pages to scrape, some dozens of each.

Makes what they work on, enqueues them through an ordinary `Client`, and checks what they left behind: files on disk,
sums in the database, titles of pages. Called by `show`.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workd.demo.site import title
from workd.demo.tally import expect
from workd_tasks.samples import resize_image, scrape_page, update_account

if TYPE_CHECKING:
    from pathlib import Path

    from workd.client.handle import Handle
    from workd.client.sync import Client
    from workd.demo.site import Site
    from workd.wire import Outcome

RESIZE, UPDATE, SCRAPE = "resize images", "update a database", "scrape a web site"
KINDS = (RESIZE, UPDATE, SCRAPE)
ACCOUNTS = ("ada", "bob", "cleo", "dan")
HELD_PAGE = "/slow"  # in front of it waits the worker that will be killed
_ORIGINALS = 4
_SIZE, _WIDTH, _SMALL = (1600, 1200), 400, [400, 300]


@dataclass(frozen=True, slots=True)
class Chore:
    """One job that was enqueued: of which kind, and of what."""

    kind: str
    subject: str
    handle: Handle[Any]


class Chores:
    """`count` jobs of each kind in one folder."""

    def __init__(self, folder: Path, site: Site, count: int) -> None:
        """Make the photographs; the other two need nothing made."""
        self._folder = folder
        self._site = site
        self.count = count
        self._database = folder / "accounts.db"
        _make_photographs(folder, count)

    def enqueue(self, client: Client) -> list[Chore]:
        """Put all jobs into the queue, one of each kind in turn; the page that is held comes early."""
        chores = []
        for number in range(self.count):
            source, target = self._photograph(number), self._thumbnail(number)
            account, path = ACCOUNTS[number % len(ACCOUNTS)], HELD_PAGE if number == 1 else f"/page/{number}"
            resize = client.enqueue(resize_image, source, target, _WIDTH)
            update = client.enqueue(update_account, self._database, account, 100 + number, f"payment-{number}")
            scrape = client.enqueue(scrape_page, self._site.url(path))
            chores += [Chore(RESIZE, target.name, resize), Chore(UPDATE, account, update), Chore(SCRAPE, path, scrape)]
        return chores

    def check(self, ended: list[tuple[Chore, Outcome]]) -> None:
        """Raise `DemoError` unless all the work is done, and done once."""
        for chore, outcome in ended:
            expect(str(outcome.status), "succeeded", f"how the job '{chore.kind}' of {chore.subject} ended")
            if chore.kind == RESIZE:
                expect(outcome.value, _SMALL, f"width and height of {chore.subject}")
            elif chore.kind == SCRAPE:
                expect(outcome.value["title"], title(chore.subject), f"the title of {chore.subject}")
        expect(len(list(self._folder.glob("small-*.jpg"))), self.count, "images that were written")
        expect(self._balances(), self._booked(), "cents in the accounts, each payment once")

    def _photograph(self, number: int) -> Path:
        return self._folder / f"photo-{number}.jpg"

    def _thumbnail(self, number: int) -> Path:
        return self._folder / f"small-{number}.jpg"

    def _booked(self) -> dict[str, int]:
        """Sum up what was to be paid."""
        sums = dict.fromkeys(ACCOUNTS, 0)
        for number in range(self.count):
            sums[ACCOUNTS[number % len(ACCOUNTS)]] += 100 + number
        return sums

    def _balances(self) -> dict[str, int]:
        with closing(sqlite3.connect(self._database)) as db:
            return dict(db.execute("SELECT name, cents FROM accounts"))


def _make_photographs(folder: Path, count: int) -> None:
    """Write real JPEG files: a few that differ, and copies of them."""
    from PIL import Image

    down, around = Image.linear_gradient("L").resize(_SIZE), Image.radial_gradient("L").resize(_SIZE)
    for number in range(count):
        path = folder / f"photo-{number}.jpg"
        if number >= _ORIGINALS:
            shutil.copyfile(folder / f"photo-{number % _ORIGINALS}.jpg", path)
            continue
        grain = Image.effect_noise(_SIZE, 20.0 + number)
        Image.merge("RGB", (down, around, grain)).save(path, quality=90)
