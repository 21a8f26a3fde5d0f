"""TCP connections into pods, and what Go says when there is none."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from podhost.errors import PodhostError
from podhost.linux.namespace_sockets import NamespaceSockets


class DialError(PodhostError):
    """No connection; the message is Go's: ``dial tcp 10.0.0.1:80: connect: connection refused``."""


def join_host_port(host: str, port: int) -> str:
    """``10.0.0.1:80``, ``[::1]:80``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_os_error(error: OSError) -> str:
    """An errno as Go prints it: ``connection refused``."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    # asyncio puts words of its own into strerror.
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


async def dial(sockets: NamespaceSockets, netns: Path | None, host: str, port: int) -> socket.socket:
    """Connect from inside ``netns``.

    Raises:
        DialError: Nobody is there.
    """
    failure = DialError(f"dial tcp: lookup {host}: no such host")
    for family, address in await _resolve(host, port):
        try:
            sock = await sockets.make(netns, family)
        except OSError as error:
            failure = DialError(f"dial tcp {join_host_port(host, port)}: {describe_os_error(error)}")
            continue
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except OSError as error:
            sock.close()
            failure = DialError(f"dial tcp {join_host_port(address, port)}: connect: {describe_os_error(error)}")
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """Addresses of a host; a literal address costs nothing."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [(socket.AF_INET if literal.version == 4 else socket.AF_INET6, str(literal))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DialError(f"dial tcp: lookup {host}: no such host") from error
    return [(family, str(address[0])) for family, _, _, _, address in found]


async def open_stream(
    sock: socket.socket, tls: ssl.SSLContext | None, server_name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over a connected socket, which they then own.  Raises OSError (also ssl.SSLError)."""
    try:
        if tls is None:
            return await asyncio.open_connection(sock=sock)
        return await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=server_name)
    except BaseException:
        sock.close()
        raise


def close_stream(writer: asyncio.StreamWriter) -> None:
    """Say goodbye, as TLS wants it, and do not wait for an answer."""
    writer.close()
    if writer.get_extra_info("ssl_object") is not None:
        writer.transport.abort()


def build_unverified_tls(*protocols: str) -> ssl.SSLContext:
    """TLS that believes any certificate, as probes do; also weak ones."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
