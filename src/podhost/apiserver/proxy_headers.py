"""Headers through the ``proxy`` subresource, as Go's reverse proxy and kube-apiserver treat them.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit, urlunsplit

Headers = Iterable[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "proxy-connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"authorization", "expect"})
"""Credentials are for us, not for the pod; 100-continue was answered by us."""
_CORS = frozenset(f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin"))


def build_request_headers(headers: Headers, *, client_ip: str, uri: str) -> list[tuple[str, str]]:
    """What the pod gets.

    Args:
        client_ip: The client's address; empty on a unix socket.
        uri: Path of the original request.
    """
    kept = list(_drop_hop_by_hop(headers, _OURS))
    return [*_forwarded(kept, client_ip), ("X-Forwarded-Uri", uri)]


def build_upgrade_headers(headers: Headers, *, client_ip: str) -> list[tuple[str, str]]:
    """What the pod gets with a request to switch protocols: all of it, but our credentials."""
    kept = [(name, value) for name, value in headers if not _is_ours(name)]
    return list(_forwarded(kept, client_ip))


def build_response_headers(
    headers: Headers, *, prefix: str, source: str, host: str, is_page: bool = False
) -> list[tuple[str, str]]:
    """What the client gets.

    Args:
        prefix: Path that leads through the proxy to the pod's ``/``.
        source: Host of the pod, with its port.
        host: Host that the client asked.
        is_page: Its links are rewritten, so it will be of another length.
    """
    dropped = _CORS | {"content-length"} if is_page else _CORS
    return [
        (name, rewrite_url(value, prefix=prefix, source=source, host=host) if name.lower() == "location" else value)
        for name, value in _drop_hop_by_hop(headers, dropped)
    ]


def rewrite_url(url: str, *, prefix: str, source: str, host: str) -> str:
    """An absolute URL of the pod's own, as seen through the proxy; others stay as they are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.netloc not in ("", source, host) or not parts.path.startswith("/"):
        return url
    scheme, netloc = (parts.scheme, parts.netloc) if parts.netloc == host else ("", "")
    path = parts.path if parts.path.startswith(prefix) else prefix + parts.path
    return urlunsplit((scheme, netloc, path, parts.query, parts.fragment))


def _drop_hop_by_hop(headers: Headers, others: frozenset[str]) -> Iterator[tuple[str, str]]:
    headers = list(headers)
    named = {
        part.strip().lower() for name, value in headers if name.lower() == "connection" for part in value.split(",")
    }
    for name, value in headers:
        lower = name.lower()
        if lower == "te" and "trailers" in value.lower():
            yield name, "trailers"
        elif lower not in _HOP_BY_HOP and lower not in named and lower not in others and not _is_ours(name):
            yield name, value


def _is_ours(name: str) -> bool:
    return name.lower() == "authorization" or name.lower().startswith("impersonate-")


def _forwarded(headers: list[tuple[str, str]], client_ip: str) -> Iterator[tuple[str, str]]:
    """``X-Forwarded-For`` with the client at its end."""
    if not client_ip:
        yield from headers
        return
    before = [value for name, value in headers if name.lower() == "x-forwarded-for"]
    yield from ((name, value) for name, value in headers if name.lower() != "x-forwarded-for")
    yield "X-Forwarded-For", ", ".join([*before, client_ip])
