"""Which settings a reload brings in, and which wait for a restart."""

from __future__ import annotations

from workd import settings
from workd.changes import CHANGEABLE, between
from workd.settings import Settings

NOW = Settings(workers=2, lease_s=15)
KEY, OTHER = "k" * 16, "o" * 16


def test_every_name_is_a_setting() -> None:
    assert set(settings.names()) >= CHANGEABLE


def test_nothing_changes_where_nothing_is_new() -> None:
    same = between(NOW, Settings(workers=2, lease_s=15))
    assert (same.settings, same.changed, same.ignored) == (NOW, (), ())


def test_what_can_change_does_and_the_rest_stays_and_is_named() -> None:
    new = between(NOW, Settings(workers=3, lease_s=20, drain_s=5, http=""))
    assert (new.changed, new.ignored) == (("workers", "drain_s"), ("lease_s", "http"))
    assert (new.settings.workers, new.settings.drain_s, new.settings.lease_s) == (3, 5, 15)


def test_keys_can_be_changed_and_not_be_introduced() -> None:
    signed = Settings(signing_keys=(KEY,))
    assert between(signed, Settings(signing_keys=(OTHER, KEY))).changed == ("signing_keys",)
    assert between(Settings(), signed).ignored == ("signing_keys",)
    assert between(signed, Settings()).ignored == ("signing_keys",)
