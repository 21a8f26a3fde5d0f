"""A gRPC health service in a file of its own: for tests, and for containers that mount it.

``python3 grpc_server.py PORT`` answers SERVING to everything but to the service ``down``, and to ``gone`` with
NOT_FOUND.
"""

from __future__ import annotations

import asyncio
import sys

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

STATUS = {"down": 2}


class HealthService(asyncio.Protocol):
    """One connection."""

    def __init__(self, paths: list[str] | None = None) -> None:
        self._paths = paths if paths is not None else []
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, bytes] = {}
        self._agents: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, events.RequestReceived):
                headers = {str(k): str(v) for k, v in event.headers or ()}
                self._paths.append(f"{headers[':path']} {headers['user-agent']}")
                self._bodies[event.stream_id or 0] = b""
            elif isinstance(event, events.DataReceived):
                self._bodies[event.stream_id or 0] += event.data or b""
            elif isinstance(event, events.StreamEnded):
                self._answer(event.stream_id or 0)
        self._transport.write(self._h2.data_to_send())

    def _answer(self, stream: int) -> None:
        message = self._bodies.pop(stream)[5:]
        service = message[2:].decode() if message else ""
        self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        if service == "gone":
            trailers = [("grpc-status", "5"), ("grpc-message", "unknown service%3A gone")]
        elif service == "never":
            return
        else:
            body = bytes([0x08, STATUS.get(service, 1)])
            self._h2.send_data(stream, b"\0" + len(body).to_bytes(4, "big") + body)
            trailers = [("grpc-status", "0")]
        self._h2.send_headers(stream, trailers, end_stream=True)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(HealthService, "0.0.0.0", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
