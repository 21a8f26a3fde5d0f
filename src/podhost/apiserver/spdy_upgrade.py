"""The handshake by which a request becomes a SPDY/3.1 connection."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from podhost.api.errors import ApiError
from podhost.apiserver.spdy_connection import SpdyConnection
from podhost.apiserver.upgrade import switch_protocols

_PROTOCOL_HEADER = "X-Stream-Protocol-Version"


def negotiate(headers: Sequence[str], supported: Sequence[str]) -> str:
    """The client's first choice among what we support.

    Args:
        headers: Values of ``X-Stream-Protocol-Version``, each with one protocol or several.

    Raises:
        ApiError: There is none.
    """
    offered = [part.strip() for line in headers for part in line.split(",") if part.strip()]
    if not headers:
        raise ApiError(400, "BadRequest", f"unable to upgrade: header {_PROTOCOL_HEADER} does not exist in request")
    if not offered:
        raise ApiError(400, "BadRequest", f"unable to upgrade: header {_PROTOCOL_HEADER} has no valid protocols")
    for protocol in offered:
        if protocol in supported:
            return protocol
    both = f"client supports [{' '.join(offered)}], server accepts [{' '.join(supported)}]"
    raise ApiError(403, "Forbidden", f"unable to upgrade: unable to negotiate protocol: {both}")


def check_spdy_protocols(request: web.Request, supported: Sequence[str]) -> str:
    """The stream protocol that is agreed on.  Raises ApiError when there is none in common."""
    return negotiate(request.headers.getall(_PROTOCOL_HEADER, []), supported)


async def upgrade_to_spdy(request: web.Request, supported: Sequence[str]) -> tuple[str, SpdyConnection]:
    """The stream protocol that was agreed on, and the connection.

    Raises:
        ApiError: There is no protocol in common.
        ConnectionError: The client has gone.
    """
    protocol = check_spdy_protocols(request, supported)
    headers = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), (_PROTOCOL_HEADER, protocol))
    return protocol, SpdyConnection(await switch_protocols(request, headers))
