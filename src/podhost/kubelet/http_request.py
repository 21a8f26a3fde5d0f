"""The request of an ``httpGet`` action, and where a redirect leads.  Pure.

After kubernetes 1.37 pkg/probe/http and Go's net/http, whose errors are what a user reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote, urljoin, urlsplit

from podhost.api import models
from podhost.kubelet.dial import join_host_port

KUBERNETES_VERSION = "1.37"
_MAX_REDIRECTS = 10
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"
_SAFE_IN_QUERY = _SAFE_IN_PATH + '?[]{}|\\^`<>"'
_REDIRECTS = (301, 302, 303, 307, 308)
Header = tuple[str, str]


class RedirectError(Exception):
    """A redirect that cannot be followed; the message is Go's."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One GET."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, as sent."""
    headers: tuple[Header, ...] = ()
    host_header: str = ""
    """Overrides the one that follows from the URL."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{join_host_port(self.host, self.port)}{self.target}"

    def build_headers(self) -> list[Header]:
        """All headers in the order in which they are sent."""
        host = self.host_header or join_host_port(self.host, self.port)
        return [("Host", host), *self.headers, ("Connection", "close")]


def resolve_port(port: int | str, container: models.Container) -> int:
    """A port by number or by its name in the container.  Raises ValueError with Kubernetes' text."""
    if isinstance(port, str):
        named = next((p.container_port for p in container.ports if p.name == port), None)
        if named is None:
            try:
                named = int(port)
            except ValueError:
                raise ValueError(f'strconv.Atoi: parsing "{port}": invalid syntax') from None
        port = named
    if not 0 < port < 65536:
        raise ValueError(f"invalid port number: {port}")
    return port


def build_request(action: models.HTTPGetAction, container: models.Container, pod_ip: str, purpose: str) -> HttpRequest:
    """The request of an action; ``purpose`` is ``probe`` or ``lifecycle``.  Raises ValueError for an unknown port."""
    given = [(canonical_name(h.name), h.value) for h in action.http_headers]
    host_header = next((value for name, value in given if name == "Host"), "")
    return HttpRequest(
        scheme=(action.scheme or "HTTP").lower(),
        host=action.host or pod_ip,
        port=resolve_port(action.port, container),
        target=build_target(action.path or ""),
        headers=tuple(_complete_headers(given, purpose)),
        host_header=host_header,
    )


def _complete_headers(given: list[Header], purpose: str) -> list[Header]:
    """What the user did not say is added; an empty User-Agent or Accept is left out."""
    names = {name for name, _ in given}
    added = []
    if "User-Agent" not in names:
        added.append(("User-Agent", f"kube-{purpose}/{KUBERNETES_VERSION}"))
    if "Accept" not in names:
        added.append(("Accept", "*/*"))
    kept = [(n, v) for n, v in given if n not in ("Host", "Connection") and (v or n not in ("User-Agent", "Accept"))]
    return added + kept


def canonical_name(name: str) -> str:
    """``x-forwarded-for`` -> ``X-Forwarded-For``, as Go sends it."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def build_target(path: str) -> str:
    """Path and query of what a user wrote as path, escaped where it must be."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/" + quote(path.lstrip("/"), safe=_SAFE_IN_PATH)
    target = quote(parts.path, safe=_SAFE_IN_PATH)
    if not target.startswith("/"):
        target = f"/{target}"
    return f"{target}?{quote(parts.query, safe=_SAFE_IN_QUERY)}" if parts.query else target


def compute_redirect(request: HttpRequest, status: int, location: str | None, followed: int) -> HttpRequest | None:
    """The next request, or ``None`` when the answer stands as it is.

    Raises:
        RedirectError: It goes round and round, or nowhere.
    """
    if status not in _REDIRECTS or not location:
        return None
    try:
        parts = urlsplit(urljoin(request.url, location))
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise RedirectError(f'failed to parse Location header "{location}": {error}') from error
    if (parts.hostname or "") != request.host.lower():
        return None  # To another host: not followed.
    if followed >= _MAX_REDIRECTS:
        raise RedirectError(f"stopped after {_MAX_REDIRECTS} redirects")
    if parts.scheme not in ("http", "https"):
        raise RedirectError(f'unsupported protocol scheme "{parts.scheme}"')
    is_relative = not urlsplit(location).netloc
    target = build_target(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")
    return replace(
        request,
        scheme=parts.scheme,
        port=port,
        target=target,
        host_header=request.host_header if is_relative else "",
    )
