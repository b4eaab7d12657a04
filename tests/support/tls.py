"""Certificates for one test run, made with openssl, and a server that speaks TLS and asks for user and password."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.ports import free_port
from support.server_sets import SERVICE, Sentinel, small_cluster
from support.servers import DEBIAN_REDIS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "app", "s3cret/with@signs"
ENCODED = "s3cret%2Fwith%40signs"


class Certificate(NamedTuple):
    """Files of a certificate that signs itself, good for 127.0.0.1 and localhost."""

    certificate: Path
    key: Path


class SecureServer(NamedTuple):
    """A server whose default user is off; the addresses at which `USER` finds it."""

    server: Server
    authority: Path
    tls_port: int

    @property
    def tls_url(self) -> str:
        """Encrypted."""
        return f"rediss://{USER}:{ENCODED}@127.0.0.1:{self.tls_port}/0?ssl_ca_certs={self.authority}"

    @property
    def named_url(self) -> str:
        """Encrypted, at a name: which is what the certificate is held against."""
        return self.tls_url.replace("127.0.0.1", "localhost")

    @property
    def tcp_url(self) -> str:
        """In the clear."""
        return f"redis://{USER}:{ENCODED}@127.0.0.1:{self.server.port}/0"

    @property
    def unix_url(self) -> str:
        """Through the file system."""
        return f"unix://{USER}:{ENCODED}@{self.server.socket}?db=0"


def certificate(folder: Path, name: str = "server") -> Certificate:
    """Make a certificate; skips the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: install Debian's openssl to run the tests of TLS")
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words = ["req", "-x509", *kind, "-days", "2", "-subj", "/CN=localhost"]
    alternatives = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([openssl, *words, *alternatives, *files], check=True, capture_output=True)
    return made


def _settings(own: Certificate, port: int) -> dict[str, str]:
    """Return the settings of a server that speaks TLS on this port, to others of its kind as well."""
    return {
        "tls-port": str(port),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
        "tls-cert-file": str(own.certificate),
        "tls-key-file": str(own.key),
        "tls-ca-cert-file": str(own.certificate),
    }


def _flags(own: Certificate, port: int) -> tuple[str, ...]:
    return tuple(word for name, value in _settings(own, port).items() for word in (f"--{name}", value))


@contextmanager
def secure_server(folder: Path) -> Iterator[SecureServer]:
    """Run Debian's Redis (the embedded Valkey was built without TLS) with TLS beside its other ways in."""
    if not DEBIAN_REDIS.exists():
        pytest.skip(f"{DEBIAN_REDIS} is missing: install Debian's redis-server to run the tests of TLS")
    own, tls_port = certificate(folder), free_port()
    with Server(DEBIAN_REDIS, extra=_flags(own, tls_port)) as server:
        with server.client() as admin:
            admin.execute_command(
                "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~workd:*", "&workd:*", "+@all", "-@admin"
            )
            admin.execute_command("ACL", "SETUSER", "default", "off")
        yield SecureServer(server, own.certificate, tls_port)


@contextmanager
def secure_sentinel(folder: Path) -> Iterator[str]:
    """Run a master and the Sentinel that names it, which hear nothing but TLS; give the address of the set."""
    own, master_port, port = certificate(folder), free_port(), free_port()
    lines = tuple(f"{name} {value}" for name, value in _settings(own, port).items())
    with Server(DEBIAN_REDIS, extra=_flags(own, master_port)), Sentinel(master_port, lines=lines):
        yield f"rediss+sentinel://127.0.0.1:{port}/{SERVICE}/0?ssl_ca_certs={own.certificate}"


@contextmanager
def secure_cluster(folder: Path) -> Iterator[str]:
    """Run two masters with half of the slots each, which talk to each other by TLS; give the address of the first."""
    own, ports = certificate(folder), (free_port(), free_port())
    with small_cluster(DEBIAN_REDIS, [(*_flags(own, port), "--tls-cluster", "yes") for port in ports], ports):
        yield f"rediss+cluster://127.0.0.1:{ports[0]}?ssl_ca_certs={own.certificate}"
