"""Sockets and HTTP connections to an :class:`~podhost.client.kubeconfig.Endpoint`."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podhost.client.kubeconfig import Endpoint
from podhost.errors import DeniedError, UnavailableError

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 10.0


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket that somebody else knows how to open."""

    def __init__(self, endpoint: Endpoint, timeout_s: float | None) -> None:
        super().__init__(http_host(endpoint))
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = open_socket(self._endpoint)
        self.sock.settimeout(self._timeout_s)


def open_connection(endpoint: Endpoint, *, timeout_s: float | None) -> http.client.HTTPConnection:
    """A connection that is opened by its first request.  ``timeout_s`` bounds each wait for data."""
    return _SocketConnection(endpoint, timeout_s)


def http_host(endpoint: Endpoint) -> str:
    """Value of the ``Host`` header."""
    return "localhost" if endpoint.socket_path is not None else urlsplit(endpoint.server).netloc


def path_prefix(endpoint: Endpoint) -> str:
    """Path below which the API lives; empty for most servers."""
    return "" if endpoint.socket_path is not None else urlsplit(endpoint.server).path.rstrip("/")


def open_socket(endpoint: Endpoint) -> socket.socket:
    """A connected stream socket, TLS already negotiated.

    Raises:
        UnavailableError: Nothing answers there.
        DeniedError: The socket may not be used by this user, or TLS is refused.
    """
    if endpoint.socket_path is not None:
        return _open_unix(endpoint.socket_path)
    return _open_tcp(endpoint)


def _open_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(str(path))
    except PermissionError as error:
        sock.close()
        raise DeniedError(f"cannot use the socket {path}: permission denied") from error
    except OSError as error:
        sock.close()
        raise UnavailableError(f"cannot reach the podhost daemon at {path}: {error.strerror}") from error
    return sock


def _open_tcp(endpoint: Endpoint) -> socket.socket:
    parts = urlsplit(endpoint.server)
    host = parts.hostname or ""
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        sock = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        raise UnavailableError(f"cannot reach the API server {endpoint.server}: {error.strerror or error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "http":
        return sock
    import ssl

    try:
        return _tls_context(endpoint).wrap_socket(sock, server_hostname=endpoint.tls_server_name or host)
    except ssl.SSLError as error:
        sock.close()
        raise DeniedError(f"cannot trust the API server {endpoint.server}: {error}") from error
    except OSError as error:
        sock.close()
        raise UnavailableError(f"cannot reach the API server {endpoint.server}: {error}") from error


_contexts: dict[Endpoint, ssl.SSLContext] = {}


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    import ssl

    if endpoint.exec_plugin is None and endpoint in _contexts:
        return _contexts[endpoint]
    context = ssl.create_default_context(cadata=endpoint.ca_data.decode() if endpoint.ca_data else None)
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.client_cert and endpoint.client_key:
        _load_client_certificate(context, endpoint.client_cert, endpoint.client_key)
    if endpoint.exec_plugin is None:
        _contexts[endpoint] = context
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # The ssl module reads certificates from files only; an anonymous one keeps the key off the disk.
    fd = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, cert.rstrip() + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
