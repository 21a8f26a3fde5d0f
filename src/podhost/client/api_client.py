"""A small client of the Kubernetes API on ``http.client``: starts in milliseconds, knows no object's meaning.

Objects are plain JSON documents.  An :class:`ApiClient` may be shared by threads; each has its own connection.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from podhost.client.kubeconfig import Endpoint
from podhost.client.transport import open_connection, path_prefix
from podhost.errors import PodhostError, UnavailableError

Document = dict[str, Any]
Query = Mapping[str, str | int | bool | None]

JSON = "application/json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
REQUEST_TIMEOUT_S = 60.0
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


class ApiStatusError(PodhostError):
    """The API server refused; ``status`` is its ``metav1.Status``."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        super().__init__(str(status.get("message") or status.get("reason") or "the API server refused the request"))
        self.status = status
        self.code = int(status.get("code") or 0)
        self.reason = str(status.get("reason") or "")


def resource_path(api_version: str, plural: str, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Path of a collection or an object: ``/api/v1/namespaces/NS/pods/NAME/log``."""
    parts = ["/api" if "/" not in api_version else "/apis", api_version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


class ApiClient:
    """Requests to one API server.

    Raises (every method):
        ApiStatusError: The server answered with an error.
        UnavailableError: It does not answer.
        DeniedError: This user may not connect.
    """

    def __init__(self, endpoint: Endpoint, *, user_agent: str = "podhost") -> None:
        self.endpoint = endpoint
        self._prefix = path_prefix(endpoint)
        self._headers = {"User-Agent": user_agent, "Accept": JSON}
        self._local = threading.local()
        self.on_warning: Callable[[str], None] | None = None
        """Called with each text that the server puts into a ``Warning`` header."""
        if endpoint.token:
            self._headers["Authorization"] = f"Bearer {endpoint.token}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with every request, a copy."""
        return dict(self._headers)

    def close(self) -> None:
        """Close the connection that this thread has kept."""
        kept = getattr(self._local, "connection", None)
        if kept is not None:
            self._forget(kept)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_s: float | None = REQUEST_TIMEOUT_S,
    ) -> Document:
        """One request with a JSON answer; an answer that is not JSON comes as ``{"text": …}``."""
        headers = {"Accept": accept}
        response, connection = self._open(method, path, query, body, content_type, timeout_s, headers=headers)
        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._forget(connection)
            raise UnavailableError(f"cannot read the answer of {self.endpoint.description}: {error}") from error
        return _decode(data)

    def get(self, path: str, **query: str | int | bool | None) -> Document:
        return self.request("GET", path, query=query)

    def list(self, path: str, **query: str | int | bool | None) -> Document:
        """The whole list; pages are put together."""
        result = self.get(path, limit=500, **query)
        token = (result.get("metadata") or {}).get("continue")
        while token:
            page = self.request("GET", path, query={**query, "limit": 500, "continue": token})
            result.setdefault("items", []).extend(page.get("items") or [])
            token = (page.get("metadata") or {}).get("continue")
        result["items"] = result.get("items") or []
        return result

    def create(self, path: str, obj: Mapping[str, Any], **query: str | int | bool | None) -> Document:
        return self.request("POST", path, body=obj, query=query)

    def update(self, path: str, obj: Mapping[str, Any]) -> Document:
        return self.request("PUT", path, body=obj)

    def patch(
        self,
        path: str,
        patch: object,
        content_type: str = STRATEGIC_MERGE_PATCH,
        **query: str | int | bool | None,
    ) -> Document:
        return self.request("PATCH", path, body=patch, content_type=content_type, query=query)

    def delete(
        self, path: str, *, grace_s: int | None = None, uid: str | None = None, propagation: str | None = None
    ) -> Document:
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        return self.request("DELETE", path, body=options)

    def watch(self, path: str, **query: str | int | bool | None) -> Iterator[Document]:
        """Watch events until the server ends the stream.  An ERROR event raises ApiStatusError."""
        for line in self.stream_lines("GET", path, query={**query, "watch": True}):
            event = json.loads(line)
            if event.get("type") == "ERROR":
                raise ApiStatusError(event.get("object") or {})
            yield event

    def stream_log(self, namespace: str, pod: str, container: str, **query: str | int | bool | None) -> Iterator[bytes]:
        """Lines of a container's log, without their line ends."""
        path = resource_path("v1", "pods", namespace=namespace, name=pod, subresource="log")
        return self.stream_lines("GET", path, query={"container": container, **query})

    def stream_lines(
        self, method: str, path: str, *, query: Query | None = None, body: object = None, timeout_s: float | None = None
    ) -> Iterator[bytes]:
        """Lines of an answer as they arrive, over a connection of their own; refusals raise at once."""
        response, connection = self._open(method, path, query, body, JSON, timeout_s, reuse=False)
        return self._lines(response, connection)

    def _lines(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> Iterator[bytes]:
        try:
            rest = b""
            while chunk := response.read1(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
            if rest:
                yield rest
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"cannot read on from {self.endpoint.description}: {error}") from error
        finally:
            connection.close()

    def _open(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        content_type: str,
        timeout_s: float | None,
        *,
        reuse: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        sent = {**self._headers, **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = content_type
        url = self._prefix + path + encode_query(query)
        kept = getattr(self._local, "connection", None) if reuse else None
        if kept is not None:
            try:
                return self._send(kept, method, url, data, sent, timeout_s), kept
            except (OSError, http.client.HTTPException):
                # The server closed a connection that was idle: once more, over a new one.
                self._forget(kept)
        connection = open_connection(self.endpoint, timeout_s=timeout_s)
        try:
            response = self._send(connection, method, url, data, sent, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnavailableError(f"cannot talk to {self.endpoint.description}: {error}") from error
        except PodhostError:
            connection.close()
            raise
        if reuse:
            self._local.connection = connection
        return response, connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
        timeout_s: float | None,
    ) -> http.client.HTTPResponse:
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request(method, url, body=data, headers=headers)
        response = connection.getresponse()
        if self.on_warning is not None:
            for text in warnings_in(response.headers.get_all("Warning") or ()):
                self.on_warning(text)
        if response.status >= 400:
            raise ApiStatusError(status_of(response.status, response.reason, response.read()))
        return response

    def _forget(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        if getattr(self._local, "connection", None) is connection:
            self._local.connection = None


def warnings_in(headers: Iterable[str]) -> list[str]:
    """Texts of ``Warning: 299 - "text"`` headers (RFC 7234, 5.5); other codes are for caches."""
    return [re.sub(r"\\(.)", r"\1", text) for header in headers for text in _WARNING.findall(header)]


def encode_query(query: Query | None) -> str:
    """``?a=b`` or nothing; ``None`` is left out, booleans are ``true`` and ``false``."""
    pairs = [
        (key, str(value).lower() if isinstance(value, bool) else str(value))
        for key, value in (query or {}).items()
        if value is not None
    ]
    return "?" + urlencode(pairs) if pairs else ""


def status_of(code: int, reason: str, body: bytes) -> Document:
    """The Status in an answer, or one made from an answer that is none."""
    document = _decode(body)
    if document.get("kind") == "Status":
        return {"code": code, **document}
    text = str(document.get("text") or document.get("message") or "").strip()
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": text or reason}


def _decode(data: bytes) -> Document:
    if not data:
        return {}
    try:
        document = json.loads(data)
    except ValueError:
        return {"text": data.decode(errors="replace")}
    return document if isinstance(document, dict) else {"text": data.decode(errors="replace")}
