"""The ``proxy`` subresources of pods and services: HTTP of any method and size, and every upgrade, to the pod.

Bodies stream both ways as they come; only the links of HTML pages are made to lead through the proxy.  Certificates
of pods are not verified, as by kube-apiserver: nobody has told it whom to trust.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from podhost.api.errors import ApiError, service_unavailable
from podhost.api.kinds import ENDPOINTS, POD, SERVICE
from podhost.apiserver.call import Call
from podhost.apiserver.content_codings import Coding, CodingError
from podhost.apiserver.html_links import LinkRewriter
from podhost.apiserver.proxy_headers import (
    build_request_headers,
    build_response_headers,
    build_upgrade_headers,
    rewrite_url,
)
from podhost.apiserver.proxy_target import (
    Target,
    find_pod_target,
    find_service_port,
    find_service_target,
    is_address_of,
    parse_name,
)
from podhost.apiserver.registry import Registry
from podhost.apiserver.upgrade import RawConnection, UpgradedResponse, give_up_on_stall

Obj = dict[str, Any]

NAMESPACED_SEGMENTS = 7
"""Of ``/api/v1/namespaces/NAMESPACE/pods/NAME/proxy``; any of the names may be "proxy", too."""
_CONNECT_TIMEOUT_S = 30.0
_MAX_HEAD_BYTES = 1 << 20
_REFUSAL_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 16
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Which the HTTP client would add by itself."""


class ProxyHandlers:
    """Requests through the API server to pods."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def pod(self, call: Call) -> web.StreamResponse:
        wanted = parse_name(call.name, "pod")
        pod = self._registry.get(POD, call.namespace, wanted.name)
        return await self.serve(call, find_pod_target(wanted, pod))

    async def service(self, call: Call) -> web.StreamResponse:
        wanted = parse_name(call.name, "service")
        service = self._registry.get(SERVICE, call.namespace, wanted.name)
        port_name = find_service_port(wanted, service)
        endpoints = self._registry.get(ENDPOINTS, call.namespace, wanted.name)

        def is_pod(address: Any) -> bool:
            name = str((address.get("targetRef") or {}).get("name") or "")
            return bool(name) and is_address_of(address, self._find_pod(call.namespace, name))

        target = find_service_target(wanted, port_name, endpoints, is_pod=is_pod, choose=random.randrange)
        return await self.serve(call, target)

    def _find_pod(self, namespace: str, name: str) -> Obj | None:
        try:
            return self._registry.get(POD, namespace, name)
        except ApiError:
            return None

    async def serve(self, call: Call, target: Target, segments: int = NAMESPACED_SEGMENTS) -> web.StreamResponse:
        """Carry a request to the target; ``segments``: of the path before that in the target."""
        request = call.request
        prefix, path = split_path(request.rel_url.raw_path, segments)
        if "upgrade" in ",".join(request.headers.getall("Connection", [])).lower():
            return await _upgrade(request, target, path or "/")
        if not path and request.method in ("GET", "HEAD"):
            # So that relative links on the page lead to the right place.
            return web.Response(status=301, headers={"Location": f"{prefix}/{_query(request)}"})
        return await self._forward(request, target, path or "/", prefix)

    async def _forward(self, request: web.Request, target: Target, path: str, prefix: str) -> web.StreamResponse:
        headers = build_request_headers(
            request.headers.items(), client_ip=_client_ip(request), uri=request.rel_url.raw_path
        )
        url = URL(f"{target.scheme}://{target.host}{path}{_query(request)}", encoded=True)
        body = request.content if request.body_exists else None
        try:
            answer = await self._get_session().request(
                request.method, url, headers=headers, data=body, allow_redirects=False, ssl=_UNVERIFIED
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise service_unavailable(f"error trying to reach service: {describe(error, target)}") from error
        async with answer:
            return await _hand_on(request, answer, target, prefix)

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_OWN_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
                # A connection for each request: pods come and go, and an address may be another's a moment later.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                read_bufsize=_CHUNK_BYTES,
                max_line_size=_MAX_HEAD_BYTES,
                max_field_size=_MAX_HEAD_BYTES,
            )
        return self._session


async def _hand_on(
    request: web.Request, answer: aiohttp.ClientResponse, target: Target, prefix: str
) -> web.StreamResponse:
    """Send the pod's answer to the client.  Raises ConnectionError when it is broken off."""
    page = find_page(request.method, answer.status, answer.headers)
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in build_response_headers(
        answer.headers.items(), prefix=prefix, source=target.host, host=request.host, is_page=page is not None
    ):
        response.headers.add(name, value)
    await response.prepare(request)

    def rewrite(link: str) -> str:
        return rewrite_url(link, prefix=prefix, source=target.host, host=request.host)

    chunks: AsyncIterable[bytes] = answer.content.iter_any()
    if page is not None:
        chunks = _rewrite_links(chunks, page, LinkRewriter(rewrite))
    try:
        async for chunk in chunks:
            async with give_up_on_stall():
                await response.write(chunk)
    except (aiohttp.ClientError, CodingError) as error:
        # The client must not take the part for the whole.
        raise ConnectionAbortedError("the pod broke off its answer") from error
    await response.write_eof()
    return response


def find_page(method: str, status: int, headers: Mapping[str, str]) -> Coding | None:
    """How the HTML page is coded whose links are to lead through the proxy; ``None``: it is no page, or only a part."""
    is_html = headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"
    if not is_html or method == "HEAD" or status in (204, 206, 304):
        return None
    return Coding.find(headers.get("Content-Encoding", ""))


async def _rewrite_links(body: AsyncIterable[bytes], coding: Coding, links: LinkRewriter) -> AsyncIterator[bytes]:
    """Raises CodingError."""
    async for chunk in body:
        for piece in coding.decode(chunk):
            yield coding.encode(links.feed(piece))
            await asyncio.sleep(0)  # a page takes milliseconds: others get a turn between its pieces
    yield coding.encode(links.end()) + coding.end()


def split_path(raw_path: str, segments: int = NAMESPACED_SEGMENTS) -> tuple[str, str]:
    """(path of the subresource, path in the target), as they came: what is quoted stays so."""
    found = re.match(rf"(?:/+[^/]+){{{segments}}}", raw_path)
    end = found.end() if found is not None else len(raw_path)
    return raw_path[:end], raw_path[end:]


def describe(error: BaseException, target: Target) -> str:
    """A failed connection in the words of Go's net package."""
    if isinstance(error, TimeoutError | aiohttp.ServerTimeoutError):
        return f"dial tcp {target.host}: i/o timeout"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "http: server gave HTTP response to HTTPS client"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno:
        return f"dial tcp {target.host}: connect: {os.strerror(cause.errno).lower()}"
    return str(error) or type(error).__name__


async def _upgrade(request: web.Request, target: Target, path: str) -> web.StreamResponse:
    """Switch protocols with the pod, then with the client, and copy bytes until one of them ends."""
    context = _UNVERIFIED if target.scheme == "https" else None
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                target.address, target.port, ssl=context, limit=_MAX_HEAD_BYTES
            )
    except (OSError, TimeoutError) as error:
        raise ApiError(500, "", f"error dialing backend: {describe(error, target)}") from error
    try:
        head = await _ask_upgrade(request, reader, writer, path)
        code = int(head.split(b" ", 2)[1])
        if code != 101 and code < 400:
            raise ApiError(500, "", f"invalid upgrade response: status code {code}")
        client = RawConnection(request)
        await client.write(head)
        if code == 101:
            await _copy_until_one_ends(client, reader, writer)
        else:
            await _copy_refusal(client, reader)
        await client.close()
    finally:
        writer.close()
    return UpgradedResponse()


async def _ask_upgrade(
    request: web.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
) -> bytes:
    """Send the request; head of the answer.  Raises ApiError."""
    headers = build_upgrade_headers(request.headers.items(), client_ip=_client_ip(request))
    lines = [f"{request.method} {path}{_query(request)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ApiError(500, "", "unexpected EOF") from error
    parts = head.split(b" ", 2)
    if not head.startswith(b"HTTP/1.") or len(parts) < 3 or not parts[1].isdigit():
        raise ApiError(500, "", f"malformed HTTP response {head.splitlines()[0]!r}")
    return head


async def _copy_until_one_ends(
    client: RawConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def up() -> None:
        while data := await client.read():
            writer.write(data)
            await writer.drain()

    async def down() -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await client.write(data)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(up(), name="proxy up"), group.create_task(down(), name="proxy down")]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except* ConnectionError:
        pass  # broken off is an end, too


async def _copy_refusal(client: RawConnection, reader: asyncio.StreamReader) -> None:
    """The rest of an answer that refuses; the connection's end is its end."""
    try:
        async with asyncio.timeout(_REFUSAL_TIMEOUT_S):
            while data := await reader.read(_CHUNK_BYTES):
                await client.write(data)
    except (TimeoutError, ConnectionError):
        return


def _client_ip(request: web.Request) -> str:
    """Empty on a unix socket."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _query(request: web.Request) -> str:
    query = request.rel_url.raw_query_string
    return f"?{query}" if query else ""
