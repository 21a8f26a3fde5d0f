"""The cluster's name server: watches the store, answers pods over UDP and TCP, forwards what is not its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from podhost.aiokit.tasks import Tasks
from podhost.dns.records import compute_pod_records, compute_service_records
from podhost.dns.settings import DnsSettings
from podhost.dns.upstream import Forward, Upstream
from podhost.dns.zone import Zone
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

_log = logging.getLogger(__name__)

SERVICES = "services"
ENDPOINT_SLICES = "endpointslices.discovery.k8s.io"
PODS = "pods"
_SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_IDLE_S = 10.0
_MAX_CONNECTIONS = 128
_MAX_QUESTIONS = 1024
"""Questions in work at once; more are dropped, and asked again by their clients."""

ServiceKey = tuple[str, str]


class Respond(Protocol):
    """Of :func:`podhost.dns.responder.respond`."""

    def __call__(self, zone: Zone, query: bytes, *, over_tcp: bool) -> bytes | Forward | None: ...


class DnsServer:
    """Serves on the sockets that it is given, from :meth:`start` to :meth:`stop`."""

    def __init__(self, store: Store, settings: DnsSettings, *, upstream: Upstream | None = None) -> None:
        self._store = store
        self._settings = settings
        self.zone = Zone(settings.domain, settings.networks)
        self._upstream = upstream or Upstream(settings.read_upstreams, str(settings.cluster_ip))
        self._slices: dict[ServiceKey, dict[str, dict[str, Any]]] = {}
        self._service_of_slice: dict[ServiceKey, ServiceKey] = {}
        self._respond: Respond | None = None
        self._tasks = Tasks()
        self._connections = 0
        self._undo: list[Callable[[], None]] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, udp: socket.socket, tcp: socket.socket) -> None:
        """The names are there, and the sockets answer, when this returns."""
        for resource, on_event in (
            (ENDPOINT_SLICES, self._on_slice),
            (SERVICES, self._on_service),
            (PODS, self._on_pod),
        ):
            self._undo.append(self._store.subscribe(resource, on_event))
            for obj in self._store.list(resource)[0]:
                on_event(WatchEvent("ADDED", obj, None, int(obj["metadata"]["resourceVersion"])))
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._on_datagram), sock=udp)
        self._listener = await asyncio.start_server(self._on_connection, sock=tcp)

    async def stop(self) -> None:
        """Idempotent."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        if self._transport is not None:
            self._transport.close()
        if self._listener is not None:
            self._listener.close()
        await self._tasks.cancel_all()

    # -- the store ------------------------------------------------------------------------------------------

    def _on_service(self, event: WatchEvent) -> None:
        self._renew(_key(event.object))

    def _on_slice(self, event: WatchEvent) -> None:
        obj = event.object
        key = _key(obj)
        name = (obj["metadata"].get("labels") or {}).get(_SERVICE_NAME_LABEL)
        before = self._service_of_slice.pop(key, None)
        if before is not None:
            self._slices[before].pop(key[1], None)
            if not self._slices[before]:
                del self._slices[before]
        after = (key[0], name) if name and event.type != "DELETED" else None
        if after is not None:
            self._service_of_slice[key] = after
            self._slices.setdefault(after, {})[key[1]] = obj
        for service in {before, after} - {None}:
            assert service is not None
            self._renew(service)

    def _on_pod(self, event: WatchEvent) -> None:
        gone = event.type == "DELETED"
        records = () if gone else compute_pod_records(event.object, self._settings.domain)
        self.zone.replace((PODS, *_key(event.object)), records)

    def _renew(self, key: ServiceKey) -> None:
        service = self._store.find(ObjectKey(SERVICES, *key))
        slices = self._slices.get(key, {}).values()
        records = () if service is None else compute_service_records(service, slices, self._settings.domain)
        self.zone.replace((SERVICES, *key), records)

    # -- questions ------------------------------------------------------------------------------------------

    async def answer(self, query: bytes, *, over_tcp: bool) -> bytes | None:
        """The answer to a query; ``None`` when it deserves none."""
        if self._respond is None:
            module = await asyncio.to_thread(importlib.import_module, "podhost.dns.responder")
            self._respond = module.respond
        result = self._respond(self.zone, query, over_tcp=over_tcp)
        if not isinstance(result, Forward):
            return result
        return result.finish(await self._upstream.ask(result.query, over_tcp=over_tcp))

    def _on_datagram(self, query: bytes, client: Any) -> None:
        if len(self._tasks) < _MAX_QUESTIONS:
            self._tasks.spawn(self._answer_datagram(query, client), name="dns-question")

    async def _answer_datagram(self, query: bytes, client: Any) -> None:
        answer = await self.answer(query, over_tcp=False)
        if answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, client)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= _MAX_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._serve_connection(reader, writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question after the other (RFC 7766), until the client is silent for too long or leaves."""
        while True:
            async with asyncio.timeout(_IDLE_S):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                query = await reader.readexactly(length)
            answer = await self.answer(query, over_tcp=True)
            if answer is None:
                return
            async with asyncio.timeout(_IDLE_S):
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes, Any], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        _log.debug("a client of the name server has gone: %s", exc)


def _key(obj: dict[str, Any]) -> ServiceKey:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
