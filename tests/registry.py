"""A real ``docker-registry`` on loopback, a proxy that spoils what comes out of it, and images to put in.

Use in a conftest: ``from registry import registry, registry_with_password, proxy  # noqa: F401``.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import http.server
import io
import json
import re
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "tester", "secret word"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_START_S = 10.0


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """An uncompressed tar; a pair is a regular file, other members have no data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mode = len(member[1]), 0o644
            archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


@dataclass(frozen=True)
class Registry:
    """A running registry.  ``host`` is ``127.0.0.1:PORT``, or another address with TLS of the authority ``ca``."""

    host: str
    user: str = ""
    password: str = ""
    ca: Path | None = None
    _pushed: dict[str, str] = field(default_factory=dict)

    def request(
        self, method: str, path: str, body: bytes | None = None, media_type: str = "application/octet-stream"
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": media_type}
        if self.user:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection = self._connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, data
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.ca is None:
            return http.client.HTTPConnection(self.host, timeout=30)
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection(self.host, timeout=30, context=context)

    def push_blob(self, repository: str, data: bytes) -> dict[str, Any]:
        """Descriptor without media type."""
        digest = digest_of(data)
        status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202
        location = re.sub(r"^https?://[^/]+", "", headers["location"])
        separator = "&" if "?" in location else "?"
        status, _, answer = self.request("PUT", f"{location}{separator}digest={digest}", data)
        assert status == 201, answer
        return {"digest": digest, "size": len(data)}

    def push_manifest(self, repository: str, reference: str, manifest: dict[str, Any]) -> str:
        """Digest of the manifest."""
        data = json.dumps(manifest).encode()
        path = f"/v2/{repository}/manifests/{reference}"
        status, _, answer = self.request("PUT", path, data, str(manifest["mediaType"]))
        assert status == 201, answer
        return digest_of(data)

    def push_image(
        self,
        repository: str,
        tag: str,
        layers: Sequence[bytes],
        *,
        config: dict[str, Any] | None = None,
        architecture: str = "amd64",
        docker: bool = False,
        diff_ids: Sequence[str] | None = None,
    ) -> str:
        """Push uncompressed layer tars as one image (gzip on the way); returns the manifest's digest."""
        document = {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": config or {},
            "history": [{"created_by": f"layer {index}"} for index in range(len(layers))],
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(digest_of, layers))},
        }
        descriptor = self.push_blob(repository, json.dumps(document).encode())
        layer_type = DOCKER_LAYER if docker else OCI_LAYER
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG if docker else OCI_CONFIG, **descriptor},
            "layers": [
                {"mediaType": layer_type, **self.push_blob(repository, gzip.compress(layer, 1, mtime=0))}
                for layer in layers
            ],
        }
        return self.push_manifest(repository, tag, manifest)


@contextmanager
def running_registry(
    directory: Path, *, password: bool = False, tls_address: str = "", extra: str = ""
) -> Iterator[Registry]:
    """Start one on a free port, keep it while the context lasts.

    With ``tls_address`` it listens there, with a certificate of an authority of its own.  ``extra`` is more of its
    configuration.
    """
    address = tls_address or "127.0.0.1"
    port = _free_port(address)
    document = (
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'data'}}}}}\n"
        f"http: {{addr: '{address}:{port}'"
    )
    directory.mkdir(parents=True, exist_ok=True)
    if tls_address:
        _make_certificate(directory, tls_address)
        document += f", tls: {{certificate: {directory / 'server.crt'}, key: {directory / 'server.key'}}}"
    document += "}\n"
    if password:
        line = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, stdout=subprocess.PIPE).stdout
        (directory / "htpasswd").write_bytes(line)
        document += f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}\n"
    (directory / "config.yml").write_text(document + extra)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log)
    try:
        _wait_for_port(address, port)
        user, secret = (USER, PASSWORD) if password else ("", "")
        yield Registry(f"{address}:{port}", user, secret, directory / "ca.crt" if tls_address else None)
    finally:
        process.terminate()
        process.wait()


def _make_certificate(directory: Path, address: str) -> None:
    """``ca.crt``, and ``server.crt`` with ``server.key`` that it has signed for the address."""
    extension = directory / "extension"
    extension.write_text(f"subjectAltName=IP:{address}\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=registry -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extension -out server.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _wait_for_port(address: str, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class SpoilingProxy:
    """Forwards to a registry; breaks or corrupts blobs when told to, and notes what was asked."""

    def __init__(self, target: Registry) -> None:
        self.target = target
        self.requests: list[str] = []
        self.corrupt: set[str] = set()
        """Digests of blobs whose bytes are changed."""
        self.break_after: dict[str, int] = {}
        """Digest of a blob: so many bytes are sent, then the connection is cut."""
        self.hold = threading.Event()
        """Cleared: blobs are held back until it is set."""
        self.hold.set()
        self.pause_after: dict[str, int] = {}
        """Digest of a blob: so many bytes are sent, the rest when ``go_on`` is set."""
        self.go_on = threading.Event()
        self.trickle: dict[str, tuple[int, float]] = {}
        """Digest of a blob: in how many pieces it is sent, and the seconds before each."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> SpoilingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def blob_requests(self) -> list[str]:
        """Digests of blobs that were fetched, in order."""
        return [path.rpartition("/")[2] for path in self.requests if path.startswith("GET") and "/blobs/" in path]

    def _make_handler(proxy: SpoilingProxy) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.requests.append(f"{self.command} {self.path}")
                headers = {
                    key: ", ".join(self.headers.get_all(key, ())) for key in self.headers if key.lower() != "host"
                }
                connection = http.client.HTTPConnection(proxy.target.host, timeout=30)
                try:
                    connection.request(self.command, self.path, headers=headers)
                    response = connection.getresponse()
                    self._forward(response, response.read())
                finally:
                    connection.close()

            do_HEAD = do_GET

            def _forward(self, response: http.client.HTTPResponse, data: bytes) -> None:
                digest = self.path.rpartition("/")[2]
                if "/blobs/" in self.path and self.command == "GET":
                    proxy.hold.wait()
                    if digest in proxy.corrupt:
                        data = data[:-1] + bytes([data[-1] ^ 1])
                self.send_response(response.status)
                for key, value in response.getheaders():
                    if key.lower() not in ("connection", "date", "server"):
                        self.send_header(key, value)
                self.end_headers()
                limit = proxy.break_after.get(digest) if self.command == "GET" else None
                pause = proxy.pause_after.get(digest, 0) if self.command == "GET" else 0
                if pause:
                    self.wfile.write(data[:pause])
                    self.wfile.flush()
                    proxy.go_on.wait()
                    data = data[pause:]
                pieces, pause_s = proxy.trickle.get(digest, (0, 0.0)) if self.command == "GET" else (0, 0.0)
                size = len(data) // max(pieces, 1)
                for _ in range(pieces):
                    time.sleep(pause_s)
                    self.wfile.write(data[:size])
                    self.wfile.flush()
                    data = data[size:]
                self.wfile.write(data if limit is None else data[:limit])
                if limit is not None:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def registry_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry-auth"), password=True) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[SpoilingProxy]:
    with SpoilingProxy(registry) as spoiling:
        yield spoiling
