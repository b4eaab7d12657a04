"""Signed queues with real daemons on a real server: what is signed runs, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from support import group_tasks as t
from support.daemons import DaemonProcess
from support.servers import Server, valkey_binary
from support.waiting import eventually
from workd import AsyncClient, Client, JobFailedError, RedisPool, chain, group, step
from workd.broker import keys
from workd.cli import app
from workd.client.admin import Admin
from workd.client.dead_letters import Where
from workd.exits import Exit
from workd.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, OLD_KEY, WRONG_KEY = "the-key-of-today", "the-key-of-yesterday", "a-key-of-somebody-else"
STREAM, DEAD, INBOX = keys.stream("default"), keys.dead("default"), keys.inbox("default")
MODULES = ("support.group_tasks",)
DOUBLE = b'{"task":"double","args":[4],"result_ttl":60}'


def signed_daemon(server: Server, folder: Path, key_list: str = f"{KEY},{OLD_KEY}", **settings: Any) -> DaemonProcess:
    said = {"queues": "default,images", "workers": 1} | settings
    environment = {"WORKD_SIGNING_KEYS": key_list}
    return DaemonProcess(server.url, folder, modules=MODULES, environment=environment, **said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemon")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[tuple[Server, DaemonProcess]]:
    """A server with one daemon on it, that takes signed messages alone."""
    schedule = folder / "workd.toml"
    arguments = f'[{{id = "tick"}}, "{folder}/ticks"]'
    schedule.write_text(f'[schedule.each-second]\ntask = "collect"\ncron = "* * * * * *"\nargs = {arguments}\n')
    with Server(valkey_binary()) as server, signed_daemon(server, folder, config=schedule) as running:
        running.wait_ready()
        yield server, running
        running.term()
        assert running.wait() == 0


@pytest.fixture
def running(daemon: tuple[Server, DaemonProcess]) -> Server:
    return daemon[0]


@pytest.fixture
def client(running: Server) -> Iterator[Client]:
    with Client(running.url, signing_key=KEY) as client:
        yield client


def dead_letter(server: Server, entry_id: str) -> dict[bytes, bytes]:
    """Wait until a job is a dead letter, and return that."""

    def found() -> list[dict[bytes, bytes]]:
        rows: Any = server.client().xrange(DEAD)
        return [fields for _, fields in rows if fields[b"id"] == entry_id.encode()]

    return eventually(found, timeout_s=40)[0]


# ── what runs ──


def test_every_way_in_of_a_client_is_signed(running: Server, client: Client) -> None:
    once = client.with_options(retries=0)
    assert client.enqueue(t.double, 4).get(20) == 8
    assert once.enqueue(t.double, 5).get(20) == 10
    assert [handle.get(20) for handle in client.enqueue_many(t.double, [(n,) for n in range(3)])] == [0, 2, 4]
    assert [handle.get(20) for handle in once.enqueue_many(t.double, [(n,) for n in range(3)])] == [0, 2, 4]
    with RedisPool(running.url, signing_key=KEY) as pool:
        assert pool.map(t.double, range(3)) == [0, 2, 4]


async def test_the_asynchronous_client_signs_as_the_other_one(running: Server) -> None:
    async with AsyncClient(running.url, signing_key=KEY) as client, asyncio.timeout(20):
        assert await (await client.enqueue(t.double, 4)).get() == 8
        once = client.with_options(retries=0)
        assert [await each.get() for each in await once.enqueue_many(t.double, [(1,), (2,)])] == [2, 4]
        assert await (await client.enqueue_chain(step(t.double, 1), step(t.add, 5))).get() == 7
        handle = await client.enqueue_group(group(step(t.double, 1), step(t.double, 2), then=step(t.collect)))
        assert handle.callback is not None
        assert (await handle.callback.get())["succeeded"] == 2


def test_a_chain_runs_to_its_end_also_through_another_queue(client: Client) -> None:
    there = step(t.add, 5).with_options(queue="images", max_retries=0)
    assert client.enqueue_chain(step(t.double, 1), step(t.add, 3), there, step(t.second_time)).get(20) == 10


def test_the_callback_of_a_group_runs_and_the_step_after_it(client: Client) -> None:
    members = [step(t.double, n) for n in range(3)]
    then = chain(step(t.collect, name="ä"), step(t.whole))
    handle = client.enqueue_group(group(*members, then=then, results=True))
    assert handle.callback is not None
    assert handle.callback.get(20)["outcomes"][2]["value"] == 4


def test_a_retry_a_crash_and_a_scheduled_job_keep_their_signature(client: Client) -> None:
    soon = client.with_options(delay_s=0.2)
    handles = [client.enqueue(t.second_time, 7), client.enqueue(t.crash_once, 8), soon.enqueue(t.double, 9)]
    assert [handle.get(15) for handle in handles] == [7, 8, 18]


def test_what_was_signed_with_the_key_before_still_runs(running: Server) -> None:
    with Client(running.url, signing_key=OLD_KEY) as old:
        assert old.enqueue(t.double, 4).get(20) == 8


def test_the_schedule_fires_signed_jobs(daemon: tuple[Server, DaemonProcess], folder: Path) -> None:
    eventually((folder / "ticks").exists, timeout_s=40)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_what_a_shell_signs_with_openssl_runs(running: Server) -> None:
    command = ["openssl", "dgst", "-sha256", "-hmac", KEY, "-r"]
    digits = subprocess.run(command, input=DOUBLE, capture_output=True, check=True).stdout.split()[0]
    entry: Any = running.client().xadd(STREAM, {"m": DOUBLE, "s": digits})
    found = eventually(lambda: running.client().get(keys.result("default", entry.decode())), timeout_s=40)
    assert json.loads(found or b"")["value"] == 8


def test_the_command_line_signs_with_the_keys_of_its_settings(
    running: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKD_REDIS_URL", running.url)
    monkeypatch.setenv("WORKD_SIGNING_KEYS", f"{KEY},{OLD_KEY}")
    assert app.call(["enqueue", "double", "4", "--wait"]) == Exit.OK
    assert capsys.readouterr().out == "8\n"


# ── what does not ──


@pytest.mark.parametrize("how", ["unsigned", "tampered", "of a wrong key", "of a key that is no key"])
def test_what_is_not_signed_by_us_is_a_dead_letter_and_runs_never(running: Server, how: str) -> None:
    signature = Signing((WRONG_KEY if how == "of a wrong key" else KEY,)).sign(DOUBLE)
    fields: Any = {
        "unsigned": {"m": DOUBLE},
        "tampered": {"m": DOUBLE.replace(b"4", b"5"), "s": signature},
        "of a wrong key": {"m": DOUBLE, "s": signature},
        "of a key that is no key": {"m": b"not even JSON", "s": b"\xff" * 64},
    }[how]
    entry: Any = running.client().xadd(STREAM, fields)
    letter = dead_letter(running, entry.decode())
    assert (letter[b"reason"], letter[b"m"], letter[b"attempts"], letter[b"deliveries"]) == (
        b"bad-signature",
        fields["m"],
        b"0",
        b"0",
    )
    assert letter.get(b"s") == fields.get("s")
    assert not running.client().exists(keys.result("default", entry.decode()))


def test_a_dead_letter_that_is_edited_is_signed_anew_and_one_that_is_replayed_keeps_what_it_had(
    running: Server, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKD_REDIS_URL", running.url)
    failed = client.enqueue(t.odd_one_out, 4, 2)
    with pytest.raises(JobFailedError):
        failed.get(20)
    with Admin(running.url) as admin:

        def entry_of_it() -> str:
            where = Where(id=failed.id)
            return eventually(lambda: [one.entry_id for one in admin.dead.page("default", where).letters])[0]

        admin.dead.replay("default", entry_of_it())
        again = dead_letter(running, failed.id)
        assert again[b"reason"] == b"failed"  # and not bad-signature
        entry = entry_of_it()
    mended = tmp_path / "mended.json"
    mended.write_bytes(again[b"m"].replace(b"[4,2]", b"[5,2]"))
    monkeypatch.setenv("WORKD_SIGNING_KEYS", KEY)
    assert app.call(["dead", "edit", entry, "--message", str(mended)]) == Exit.OK
    with Client(running.url) as other:  # ours was told of the replay, and has that outcome
        assert other.result(failed.id).get(20) == 5


def test_the_inbox_of_a_signed_queue_is_left_alone_and_the_daemon_says_so(
    daemon: tuple[Server, DaemonProcess],
) -> None:
    server, running = daemon
    server.client().rpush(INBOX, DOUBLE)
    with Client(server.url, signing_key=KEY) as client:
        assert client.enqueue(t.double, 4).get(20) == 8
    assert server.client().llen(INBOX) == 1
    said = [line["event"] for line in running.log() if str(line["event"]).startswith("inbox_queues:")]
    assert len(said) == 1
    assert "the inbox of default is not served: messages have to be signed" in said[0]
    assert KEY not in running.log_text()


# ── several daemons ──


def test_a_takeover_keeps_the_signature(valkey: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with signed_daemon(valkey, tmp_path, lease_s=1) as doomed, Client(valkey.url, signing_key=KEY) as client:
        doomed.wait_ready()
        handle = client.enqueue(t.wait_for, str(gate), 3)
        eventually(lambda: handle.status() == "running", timeout_s=40)
        with signed_daemon(valkey, tmp_path, lease_s=1) as other:
            other.wait_ready()
            doomed.kill()
            gate.touch()
            assert handle.get(15) == 3


def test_a_daemon_without_the_key_of_a_rotation_refuses_what_it_signs(valkey: Server, tmp_path: Path) -> None:
    with signed_daemon(valkey, tmp_path, key_list=OLD_KEY) as behind, Client(valkey.url, signing_key=KEY) as client:
        behind.wait_ready()
        handle = client.enqueue(t.double, 4)
        assert dead_letter(valkey, handle.id)[b"reason"] == b"bad-signature"


def test_a_daemon_that_has_lost_its_keys_says_once_that_it_checks_nothing(valkey: Server, tmp_path: Path) -> None:
    with (
        DaemonProcess(valkey.url, tmp_path, modules=MODULES, workers=1) as keyless,
        Client(valkey.url) as plain,
        Client(valkey.url, signing_key=KEY) as client,
    ):
        assert plain.enqueue(t.double, 1).get(40) == 2
        assert [client.enqueue(t.double, number).get(40) for number in (2, 3)] == [4, 6]
        keyless.term()
        assert keyless.wait() == 0  # its log is whole then
        warned = [line["event"] for line in keyless.log() if "signing_keys" in str(line["event"])]
    (text,) = warned
    assert text.startswith("messages are signed, and this daemon has no signing_keys")
