"""Small servers inside a network namespace, run by the test's own loop: what probes and hooks talk to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podhost.linux.namespaces import run_in_namespace

SLOWLY = "slowly"
"""Instead of a piece of an answer: nothing more comes, and the connection stays."""


@dataclass
class PodServer:
    """Answers connections by path; each answer is sent as it stands, then the connection is closed."""

    netns: Path
    address: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    answers: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> PodServer:
        sock = run_in_namespace(self.netns, "net", self._listen)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self.tls)
        return self

    def _listen(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        sock.bind((self.address, 0))
        sock.listen()
        return sock

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            path = request.split(" ", 2)[1]
            for piece in self.answers.get(path, ["HTTP/1.1 404 Not Found\r\n\r\n"]):
                if piece == SLOWLY:
                    await self._stop.wait()
                    break
                writer.write(piece.encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(status: str, body: str = "", *headers: str) -> list[str]:
    """A whole answer in one piece."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", body]
    return ["\r\n".join(lines)]


def build_server_tls(directory: Path, *protocols: str) -> ssl.SSLContext:
    """A certificate that nobody has reason to trust: another name, expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere.invalid")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
