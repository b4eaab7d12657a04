"""Update a database: work that must not be done twice, although a task may be run twice."""

import sqlite3
from contextlib import closing
from pathlib import Path

from workd_tasks import task

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, cents INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS payments (id TEXT PRIMARY KEY)",
)
_ADD = "INSERT INTO accounts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET cents = cents + excluded.cents"


@task(timeout=30, max_retries=5, backoff_s=0.2)
def update_account(database: Path, account: str, cents: int, payment_id: str) -> int:
    """Add `cents` to an account, once per `payment_id`; return the balance.

    A worker can die between the commit and the word that it is done, and then the task runs again. So the
    payment is written down in the same transaction as what it does, and a second run finds it there.
    """
    with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # one writer at a time; the others wait here
        with db:
            for statement in _SCHEMA:
                db.execute(statement)
            new = db.execute("INSERT OR IGNORE INTO payments VALUES (?)", (payment_id,)).rowcount == 1
            if new:
                db.execute(_ADD, (account, cents))
            row = db.execute("SELECT cents FROM accounts WHERE name = ?", (account,)).fetchone()
    balance: int = row[0]
    return balance
