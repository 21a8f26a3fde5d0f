"""Who is asking: the unix socket means administrator; on TLS the client's certificate says it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api import errors
from podhost.api.kind import Kind
from podhost.apiserver.routing import Access, Route

MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated user; ``None`` in place of one is anonymous."""

    name: str
    groups: frozenset[str]


ADMIN = User("podhost:socket", frozenset({MASTERS, "system:authenticated"}))
ANONYMOUS = User("system:anonymous", frozenset({"system:unauthenticated"}))


def user_of_transport(transport: asyncio.BaseTransport | None) -> User:
    """The user behind a connection.  A certificate was verified against our CA in the TLS handshake."""
    if transport is None:
        return ANONYMOUS
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        return ADMIN
    return user_of_certificate(transport.get_extra_info("peercert"))


def user_of_certificate(certificate: Mapping[str, Any] | None) -> User:
    """CN is the user, each O a group.  ``certificate`` is what ``SSLSocket.getpeercert()`` gives."""
    if not certificate:
        return ANONYMOUS
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for field, value in names if field == "commonName"), "")
    if not user:
        return ANONYMOUS
    groups = {value for field, value in names if field == "organizationName"}
    return User(user, frozenset(groups | {"system:authenticated"}))


def check_access(user: User, route: Route, params: Mapping[str, str]) -> None:
    """Raises ApiError: 401 for the anonymous, 403 for those without the right."""
    if route.access is Access.PUBLIC:
        return
    if user == ANONYMOUS:
        raise errors.unauthorized()
    if route.access is Access.AUTHENTICATED or MASTERS in user.groups:
        return
    raise _forbidden(user, route, params)


def _forbidden(user: User, route: Route, params: Mapping[str, str]) -> errors.ApiError:
    kind: Kind | None = route.kind
    if kind is None:
        detail = f'User "{user.name}" cannot {route.verb} path "{route.pattern}"'
        return errors.forbidden("", "", detail)
    resource = f"{kind.plural}/{route.subresource}" if route.subresource else kind.plural
    namespace = params.get("namespace", "")
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    detail = f'User "{user.name}" cannot {route.verb} resource "{resource}" in API group "{kind.group}" {scope}'
    return errors.forbidden(kind.plural, params.get("name", ""), detail, kind.group)
