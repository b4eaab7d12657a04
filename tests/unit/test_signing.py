"""Signatures: what is signed, what is refused, and that keys are shown to nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.flying import flight
from workd import retry, settings
from workd.client.admin import Admin
from workd.client.sync import Client
from workd.errors import SettingsError
from workd.intake import Limits, Reader
from workd.settings import Settings, load
from workd.signing import Signing
from workd.verdicts import Clerk, Times
from workd.wire import DeadReason

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "signatures.json").read_text("utf-8"))
ROWS: list[dict[str, Any]] = VECTORS["signatures"]
KEY, OTHER = "a-key-of-the-tests", "another-key-of-the-tests"
MESSAGE = b'{"task":"square","args":[4]}'
SIGNING = Signing((KEY,))


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in settings.names():
        monkeypatch.delenv(settings.variable(name), raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")


def accepts(signing: Signing, message: bytes, signature: bytes | None) -> bool:
    return signing.refusal(message, signature) == ""


# ── what is signed ──


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_a_daemon_takes_what_the_vectors_say_and_nothing_else(row: dict[str, Any]) -> None:
    signature = None if row["s"] is None else row["s"].encode()
    assert accepts(Signing((VECTORS["key"],)), row["message"].encode(), signature) is row["accepted"]


def test_we_sign_as_the_vectors_say() -> None:
    signing = Signing((VECTORS["key"],))
    plain = [row for row in ROWS if row["accepted"] and ":" not in row["s"]]
    assert plain
    for row in plain:
        assert signing.sign(row["message"].encode()).decode() == row["s"]


def test_the_first_key_signs_and_all_verify() -> None:
    rotated = Signing((OTHER, KEY))
    assert accepts(rotated, MESSAGE, SIGNING.sign(MESSAGE))
    assert rotated.sign(MESSAGE) == Signing((OTHER,)).sign(MESSAGE)
    assert not accepts(SIGNING, MESSAGE, rotated.sign(MESSAGE))


def test_the_parts_of_a_callback_cannot_be_moved_against_each_other() -> None:
    before, after = b'{"task":"a","args":[', b"]}"
    digits = SIGNING.sign_callback(before, after)
    good = b"%b:%d:%d" % (digits, len(before), len(after))
    assert accepts(SIGNING, before + b'{"id":"g"}' + after, good)
    for ends in ((len(before) + 1, len(after)), (len(before), len(after) + 1), (999, 999), (0, 0), (999_999_999, 2)):
        assert not accepts(SIGNING, before + b"{}" + after, b"%b:%d:%d" % (digits, *ends))
    for argument in (b"", b"1", b'{},{"x":1}', b"{}]}{", b"null", b"{"):
        assert not accepts(SIGNING, before + argument + after, good)


@pytest.mark.parametrize(
    "signature", [b"", b"\xff" * 64, b"0" * 65, b"0" * 64 + b":", b"0" * 64 + b":1:-1", b"a" * 10**6]
)
def test_a_strangers_field_is_refused_and_raises_nothing(signature: bytes) -> None:
    assert not accepts(SIGNING, MESSAGE, signature)


# ── a daemon with keys ──


def read(limits: Limits, message: bytes | None, signature: bytes | None) -> retry.Event | None:
    entry = flight("1000-0").entry._replace(message=message, signature=signature, fields={})
    return Reader(limits, {"square": {}}, lambda: 100.0).read(entry)[1]


def test_what_is_not_signed_is_dead_before_it_is_parsed_and_never_retried() -> None:
    limits = Limits(signing=SIGNING)
    assert read(limits, MESSAGE, SIGNING.sign(MESSAGE)) is None
    for message, signature in ((MESSAGE, None), (MESSAGE, b"0" * 64), (b"no JSON", None), (b'{"v":99}', b"")):
        event = read(limits, message, signature)
        assert isinstance(event, retry.Refused)
        assert (event.reason, event.error.type, event.ran) == (DeadReason.BAD_SIGNATURE, "BadSignature", False)
        assert isinstance(retry.decide(retry.Counters(), retry.Policy(max_retries=9), event, 0.5), retry.Die)


def test_what_is_too_large_is_not_even_hashed() -> None:
    event = read(Limits(signing=SIGNING, max_message_bytes=10), MESSAGE, None)
    assert isinstance(event, retry.Refused)
    assert event.reason is DeadReason.TOO_LARGE


def test_without_keys_a_signature_is_carried_and_not_looked_at() -> None:
    assert read(Limits(), MESSAGE, b"whatever") is None


def test_the_next_step_of_a_chain_is_signed_by_the_daemon_here_and_elsewhere() -> None:
    clerk = Clerk("me", wall=lambda: 100.0, signing=Signing((OTHER, KEY)))
    for queue in (None, "elsewhere"):
        step = {"task": "b"} | ({} if queue is None else {"queue": queue})
        raw = json.dumps({"task": "square", "then": [step]}).encode()
        entry = flight("1000-0").entry._replace(message=raw, signature=SIGNING.sign(raw))
        job, trouble = Reader(Limits(signing=Signing((OTHER, KEY))), {"square": {}}, lambda: 100.0).read(entry)
        assert trouble is None
        settlement = clerk.write(job, clerk.decide(job, retry.Returned(b"5")), Times())
        kin: Any = getattr(settlement, "kin", None)
        message, signature = (
            (kin.following, kin.following_signature) if queue is None else (kin.post.message, kin.post.signature)
        )
        assert accepts(Signing((OTHER,)), message, signature)


# ── keys ──


@pytest.mark.parametrize("key", ["short", "fifteen-bytes-x", "", "with white space in it", "with,a,comma,in,it,too"])
def test_a_bad_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^signing_key: a key ") as refused:
        Client("redis://localhost", signing_key=key)
    assert not key or key not in str(refused.value)
    with pytest.raises(SettingsError):
        Admin("redis://localhost", signing_key=key)


def test_keys_come_from_a_file_the_environment_and_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "workd.toml"
    file.write_text(f'signing_keys = ["{KEY}"]')
    assert load({}, file).settings.signing_keys == (KEY,)
    (tmp_path / "signing_keys").write_text(f"{OTHER}\n{KEY}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    loaded = load({}, file)
    assert (loaded.settings.signing_keys, loaded.origins["signing_keys"]) == ((OTHER, KEY), "credential signing_keys")
    monkeypatch.setenv("WORKD_SIGNING_KEYS", f"{KEY}, {OTHER}")
    assert load({}, file).settings.signing_keys == (KEY, OTHER)


def test_keys_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_SIGNING_KEYS", f"{KEY},{OTHER}")
    loaded = load({})
    assert loaded.shown()["signing_keys"] == ["***", "***"]
    said = f"{loaded.shown()} {loaded} {loaded.settings!r} {loaded.settings.signing!r} {Limits(signing=SIGNING)}"
    assert KEY not in said
    assert OTHER not in said


def test_a_key_that_is_too_short_is_named_by_its_origin_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_SIGNING_KEYS", f"{KEY},tooshort")
    with pytest.raises(SettingsError, match=r"^signing_keys: a key should have at least 16 bytes") as refused:
        load({})
    assert "from WORKD_SIGNING_KEYS" in str(refused.value)
    assert "tooshort" not in str(refused.value)


@pytest.mark.parametrize("empty", ["", " \n", ","])
def test_an_empty_place_for_keys_does_not_mean_unsigned(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "signing_keys").write_text(empty)
    with pytest.raises(SettingsError, match=r"^signing_keys: there is no key in it.*from credential signing_keys"):
        load({})
    (tmp_path / "signing_keys").unlink()
    monkeypatch.setenv("WORKD_SIGNING_KEYS", empty)
    with pytest.raises(SettingsError, match=r"^signing_keys: there is no key in it.*from WORKD_SIGNING_KEYS"):
        load({})


def test_with_keys_no_inbox_is_served_and_that_is_said() -> None:
    chosen = Settings(signing_keys=(KEY,), queues=("default", "images"), inbox_queues=("images",))
    assert chosen.inboxes == ()
    loaded = load({"signing_keys": KEY, "queues": "default,images", "inbox_queues": "images"})
    assert [line for line in loaded.warnings if line.startswith("inbox_queues: the inbox of images is not served")]
    assert load({"signing_keys": KEY, "inbox_queues": ""}).warnings == ()
