"""Several real servers that belong together: a Sentinel set and a Cluster, of Debian's redis-server.

Each has small timeouts, so that a failover takes a second or two, and can be driven by hand: kill the master, have the
Sentinels or a replica take over in peace. Every process is a `Server`, ended by its own pid.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from support.ports import free_port
from support.servers import DEBIAN_REDIS, Server
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SERVICE = "mymaster"
DOWN_AFTER_MS = 500
NODE_TIMEOUT_MS = 1_000
READY_S = 30.0
PATIENCE_S = 15.0  # longer than servers try to fail over
SLOTS = 16_384


class Sentinel(Server):
    """One Sentinel process, watching one master."""

    def __init__(
        self, master_port: int, service: str = SERVICE, password: str | None = None, lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(DEBIAN_REDIS)
        self._password = password
        settings = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor {service} 127.0.0.1 {master_port} 2",
            f"sentinel down-after-milliseconds {service} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {service} 3000",
            *(() if password is None else (f"requirepass {password}",)),
            *lines,
        )
        (self.folder / "sentinel.conf").write_text("\n".join(settings) + "\n")

    def client(self) -> redis.Redis:
        return plain_client(self.port, self._password)

    def _command(self) -> list[str]:
        return [str(self.binary), str(self.folder / "sentinel.conf"), "--sentinel"]


class SentinelSet:
    """A master, a replica and three Sentinels, two of which decide. Use as a context manager."""

    def __init__(self, *extra: str) -> None:
        self._stack = ExitStack()
        self.servers = [Server(DEBIAN_REDIS, appendonly=True, extra=("--repl-diskless-sync-delay", "0", *extra))]
        replica_of = f"127.0.0.1 {self.servers[0].port}"
        replica = ("--replicaof", *replica_of.split(), "--repl-diskless-sync-delay", "0", *extra)
        self.servers.append(Server(DEBIAN_REDIS, appendonly=True, extra=replica))
        self.sentinels: list[Sentinel] = []

    def __enter__(self) -> Self:
        for server in self.servers:
            self._stack.enter_context(server)
        self.sentinels = [self._stack.enter_context(Sentinel(self.servers[0].port)) for _ in range(3)]
        eventually(self._sees_everybody, timeout_s=READY_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """The set's address."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def master(self) -> Server:
        """The server that the first Sentinel names."""
        port = self._said(self.sentinels[0])
        return next(server for server in self.servers if server.port == port)

    def client(self) -> redis.Redis:
        """Return a client of the master."""
        return self.master.client()

    def fail_over(self) -> None:
        """Have the replica take over in peace, and wait until all Sentinels know."""
        before = self.master.port
        with self.sentinels[0].client() as client:

            def ask() -> None:
                # Another Sentinel may be at it, or the one before may be too recent.
                failover = ("SENTINEL", "FAILOVER", SERVICE)
                eventually(lambda: _done(lambda: client.execute_command(*failover)), timeout_s=READY_S)

            _ask_until(ask, lambda: self.master.port != before)
        self.wait_for_another(before)

    def wait_for_another(self, port: int) -> None:
        """Wait until all Sentinels name another master than that on `port`, and it takes writes."""
        eventually(lambda: all(self._said(sentinel) != port for sentinel in self.sentinels), timeout_s=READY_S)
        with self.client() as client:
            eventually(lambda: client.role()[0] == b"master", timeout_s=READY_S)

    def make_whole(self) -> None:
        """Start again what was killed, and make a replica of it: the Sentinels themselves take some ten seconds."""
        master = self.master
        for server in self.servers:
            if not server.running:
                server.start()
            if server is not master:
                with server.client() as client:
                    client.execute_command("REPLICAOF", "127.0.0.1", master.port)
        self.wait_for_replica()

    def wait_for_replica(self) -> None:
        """Wait until the master has a replica that is up to date."""
        eventually(lambda: self._replicates(self.master), timeout_s=READY_S)

    def _said(self, sentinel: Sentinel) -> int:
        with sentinel.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _replicates(self, server: Server) -> bool:
        with server.client() as client:
            info: Any = client.info("replication")
        return any(isinstance(said, dict) and said.get("state") == "online" for said in info.values())

    def _sees_everybody(self) -> bool:
        if not self._replicates(self.servers[0]):
            return False
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                pairs = client.execute_command("SENTINEL", "MASTER", SERVICE)
            said = {bytes(name): bytes(value) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
            if said[b"num-slaves"] != b"1" or said[b"num-other-sentinels"] != b"2" or said[b"flags"] != b"master":
                return False
        return True


class Cluster:
    """Three masters with a third of the slots each, and a replica for each. Use as a context manager."""

    def __init__(self, *extra: str) -> None:
        options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
            *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
            # A replica counts once it has received something, and that is the master's ping.
            *("--repl-ping-replica-period", "1", "--cluster-require-full-coverage", "no", *extra),
        )
        self._stack = ExitStack()
        self._bus_ports = [free_port() for _ in range(6)]  # the usual ones, 10,000 higher, may be beyond 65535
        self.nodes = [
            Server(DEBIAN_REDIS, appendonly=True, extra=("--cluster-port", str(port), *options))
            for port in self._bus_ports
        ]

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.enter_context(node)
        masters, replicas = self.nodes[:3], self.nodes[3:]
        share = SLOTS // 3
        for number, node in enumerate(masters):
            last = SLOTS - 1 if number == 2 else share * (number + 1) - 1
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", share * number, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, meeting in enumerate(self.nodes):  # each with each: by hearsay it takes them some seconds
            with meeting.client() as client:
                for node, bus_port in list(zip(self.nodes, self._bus_ports, strict=True))[number + 1 :]:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        eventually(lambda: all(self._known(node) == len(self.nodes) for node in self.nodes), timeout_s=READY_S)
        for master, replica in zip(masters, replicas, strict=True):
            with master.client() as client:
                name = client.execute_command("CLUSTER", "MYID")
            with replica.client() as client:
                client.execute_command("CLUSTER", "REPLICATE", name)
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """The Cluster's address: two of its nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def node_of(self, key: str) -> Server:
        """Return the master that holds a key."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.answers:
                with node.client() as client:
                    answer = client.execute_command("CLUSTER", "SLOTS")
                port = next(row[2][1] for row in answer if row[0] <= slot <= row[1])
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError("no node is left")

    def replica_of(self, master: Server) -> Server:
        """Return a replica of this master."""
        for node in self.nodes:
            if node.answers and node is not master:
                role = self._role(node)
                if role[0] == b"slave" and role[2] == master.port:
                    return node
        raise AssertionError("it has no replica")

    def client(self, key: str) -> redis.Redis:
        """Return a client of the node that holds a key, which knows no other."""
        return self.node_of(key).client()

    def fail_over(self, key: str) -> None:
        """Have a replica take over the key's slots in peace."""
        master = self.node_of(key)
        with self.replica_of(master).client() as client:
            _ask_until(lambda: client.execute_command("CLUSTER", "FAILOVER"), lambda: self.node_of(key) is not master)
        self.wait_for_another(key, master)

    def wait_for_another(self, key: str, master: Server) -> None:
        """Wait until another node than `master` holds the key and all that run know it."""
        eventually(lambda: self.node_of(key) is not master, timeout_s=READY_S)
        eventually(lambda: all(self._state(node) == b"ok" for node in self.nodes if node.answers), timeout_s=READY_S)

    @contextmanager
    def moving(self, key: str) -> Iterator[None]:
        """Begin to move the key's slot to another node, and take that back at the end."""
        source = self.node_of(key)
        target = next(node for node in self.masters() if node is not source)
        slot = key_slot(key.encode())
        with source.client() as here, target.client() as there:
            names = here.execute_command("CLUSTER", "MYID"), there.execute_command("CLUSTER", "MYID")
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
            try:
                yield
            finally:
                for client in (here, there):
                    client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")

    def move(self, key: str, target: Server) -> None:
        """Move the key's slot to another node, keys and all, as `redis-cli --cluster reshard` does."""
        source, slot = self.node_of(key), key_slot(key.encode())
        with source.client() as here, target.client() as there:
            source_id, target_id = (client.execute_command("CLUSTER", "MYID") for client in (here, there))
            there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            while found := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *found)
            for client in (there, here):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        eventually(lambda: self.node_of(key) is target, timeout_s=READY_S)

    def masters(self) -> list[Server]:
        """Return the nodes that hold slots."""
        return [node for node in self.nodes if self._role(node)[0] == b"master"]

    def make_whole(self) -> None:
        """Start again what was killed, and wait until every master has a replica in step."""
        for node in self.nodes:
            if not node.running:
                node.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until all slots are served, every replica is up to date, and all know of all."""
        eventually(lambda: all(self._ready(node) for node in self.nodes), timeout_s=READY_S)

    def _role(self, node: Server) -> Any:
        with node.client() as client:
            return client.role()

    def _ready(self, node: Server) -> bool:
        role = self._role(node)
        with node.client() as client:
            slots = client.execute_command("CLUSTER", "SLOTS")
        in_step = bool(role[2]) if role[0] == b"master" else role[3] == b"connected"
        return self._state(node) == b"ok" and in_step and all(len(row) == 4 for row in slots) and len(slots) == 3

    def _known(self, node: Server) -> int:
        with node.client() as client:
            lines = bytes(client.execute_command("CLUSTER", "NODES")).splitlines()
        return sum(b"handshake" not in line for line in lines)

    def _state(self, node: Server) -> bytes:
        with node.client() as client:
            lines = bytes(client.execute_command("CLUSTER", "INFO")).split(b"\r\n")
        return dict(line.split(b":", 1) for line in lines if b":" in line)[b"cluster_state"]


def plain_client(port: int, password: str | None = None) -> redis.Redis:
    """Return a client over TCP, bytes in and out, RESP2, no retries of its own."""
    return redis.Redis(port=port, password=password, protocol=2, socket_timeout=10.0, retry=Retry(NoBackoff(), 0))


@contextmanager
def small_cluster(
    binary: Path, flags: Sequence[tuple[str, ...]], ports: Sequence[int] = ()
) -> Iterator[tuple[Server, Server]]:
    """Run two masters with half of the slots each and flags of their own; they meet at `ports`, or the usual ones."""
    bus_ports = free_port(), free_port()
    own = [("--cluster-enabled", "yes", "--cluster-port", str(bus), *flags[n]) for n, bus in enumerate(bus_ports)]
    with (
        Server(binary, appendonly=True, extra=own[0]) as one,
        Server(binary, appendonly=True, extra=own[1]) as other,
        one.client() as here,
        other.client() as there,
    ):
        here.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS // 2 - 1)
        there.execute_command("CLUSTER", "ADDSLOTSRANGE", SLOTS // 2, SLOTS - 1)
        there.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
        here.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1] if ports else other.port, bus_ports[1])
        for node in (one, other):
            wait_for_slots(node)
        yield one, other


def wait_for_slots(node: Server) -> None:
    """Wait until a node of a Cluster knows who has each slot."""
    with node.client() as client:
        eventually(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), timeout_s=READY_S)


def _ask_until(ask: Callable[[], object], is_so: Callable[[], bool]) -> None:
    """Ask again for what a server gives up, without a word, when it is too slow for it."""
    for _ in range(4):
        ask()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if is_so():
                return
            time.sleep(0.05)
    raise AssertionError("the servers have not failed over")


def _done(work: Callable[[], object]) -> bool:
    try:
        work()
    except redis.ResponseError:
        time.sleep(0.05)
        return False
    return True
