"""A small API server on a unix socket whose answers a test writes down."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from podhost.client import ApiClient, Endpoint


@dataclass(slots=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Handler = Callable[[Request, BaseHTTPRequestHandler], None]


@dataclass(slots=True)
class FakeServer:
    """``handler`` answers; ``requests`` keeps what was asked."""

    socket_path: Path
    handler: Handler | None = None
    requests: list[Request] = field(default_factory=list)
    client: ApiClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = ApiClient(Endpoint(socket_path=self.socket_path))


@pytest.fixture
def fake_server(tmp_path: Path) -> Iterator[FakeServer]:
    fake = FakeServer(tmp_path / "api.sock")

    class RequestHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            fake.requests.append(request)
            assert fake.handler is not None
            fake.handler(request, self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(fake.socket_path), RequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            fake.client.close()
            server.shutdown()
            thread.join()
