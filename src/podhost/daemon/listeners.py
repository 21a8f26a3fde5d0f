"""Where the API listens: a unix socket for this machine's users, TLS on loopback for kubeconfigs."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path

from aiohttp import web

from podhost.apiserver.tls_site import TlsSite
from podhost.daemon.pki import Pki
from podhost.errors import ConflictError, InvalidError
from podhost.linux.fs import write_atomic

_BACKLOG = 1024
_DNS_TRIES = 8
_SOCKET_PATH_BYTES = 107


def build_tls_context(pki: Pki) -> ssl.SSLContext:
    """Server context that asks for a client certificate of our own CA and accepts its absence.

    Whether a request without one is served is the API server's decision: health and version are.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pki.server.certificate, pki.server.key)
    context.load_verify_locations(pki.ca.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def bind_tcp(address: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        ConflictError: The port is taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"cannot listen on {address}:{port}: the port is in use; choose another with --api-port (0: any)"
            ) from error
        raise
    sock.setblocking(False)
    return sock


def bind_api_port(wish: int, record: Path) -> socket.socket:
    """The API's port on loopback.

    A port that was chosen freely is kept in ``record`` and taken again at the next start, so that kubeconfigs
    written earlier go on working; only when somebody else has it by then, another one is chosen.

    Raises:
        ConflictError: The port that was wished for is taken.
    """
    if wish:
        return bind_tcp("127.0.0.1", wish)
    try:
        sock = bind_tcp("127.0.0.1", int(record.read_text()))
    except (FileNotFoundError, ValueError, ConflictError):
        sock = bind_tcp("127.0.0.1", 0)
    _keep_port(record, sock)
    return sock


def _keep_port(record: Path, sock: socket.socket) -> None:
    """Nothing is written where it is there already: a daemon starts on a full disk, too."""
    content = f"{sock.getsockname()[1]}\n"
    if not record.exists() or record.read_text() != content:
        write_atomic(record, content.encode())


def bind_dns(address: str, record: Path) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets of one port for the name server: the port in ``record``, or else a free one.

    Pods ask at port 53 of a cluster address that leads here; the host's own port 53 may belong to somebody.

    Raises:
        ConflictError: No port was free for both.
    """
    try:
        wish = int(record.read_text())
    except (FileNotFoundError, ValueError):
        wish = 0
    for port in (wish, *([0] * _DNS_TRIES)):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind((address, port))
            tcp = bind_tcp(address, udp.getsockname()[1])
        except (OSError, ConflictError):
            udp.close()
            continue
        udp.setblocking(False)
        _keep_port(record, udp)
        return udp, tcp
    raise ConflictError(f"cannot listen on {address} for names: no port is free for both UDP and TCP")


def bind_unix(path: Path, group_id: int | None) -> socket.socket:
    """A listening unix socket for root and the group; never open to others, not even for a moment.

    Raises:
        InvalidError: The path is longer than the kernel takes.
    """
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        raise InvalidError(
            f'cannot listen at "{path}": the path of a socket may have no more than {_SOCKET_PATH_BYTES} bytes; '
            "choose a shorter --run-root"
        )
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(previous)
    if group_id is not None:
        os.chown(path, 0, group_id)
        path.chmod(0o660)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock


async def serve(runner: web.AppRunner, unix: socket.socket, tcp: list[socket.socket], tls: ssl.SSLContext) -> None:
    """Start serving on all of them."""
    await runner.setup()
    await web.SockSite(runner, unix, backlog=_BACKLOG).start()
    for sock in tcp:
        await TlsSite(runner, sock, tls, backlog=_BACKLOG).start()
