"""One request, authenticated and routed, and its query parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aiohttp import web

from podhost.api import errors
from podhost.api.kind import Kind
from podhost.apiserver.authn import User
from podhost.apiserver.routing import Route

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64_DIGITS = 19
_TWO_WAY = frozenset({"exec", "attach", "portforward", "proxy"})
_STREAMS = _TWO_WAY | {"log"}


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets."""

    request: web.Request
    route: Route
    params: dict[str, str]
    user: User
    warnings: list[str] = field(default_factory=list)
    """Texts for ``Warning`` headers, collected on the way."""
    body_timeout_s: float = 60.0
    min_watch_s: float = 1800.0
    noted: dict[str, str] = field(default_factory=dict)
    """What a handler found out, for the audit log: the ``name`` in a new object's body."""

    @property
    def kind(self) -> Kind:
        kind = self.route.kind
        if kind is None:
            raise LookupError(f"{self.route.pattern} is not a resource")
        return kind

    @property
    def namespace(self) -> str:
        """Empty for a cluster-scoped resource and for all namespaces."""
        return self.params.get("namespace", "")

    @property
    def name(self) -> str:
        return self.params.get("name", "")

    @property
    def accept(self) -> str:
        return ",".join(self.request.headers.getall("Accept", []))

    def text(self, parameter: str, default: str = "") -> str:
        return self.request.query.get(parameter, default)

    def flag(self, parameter: str) -> bool:
        """As Kubernetes: false when absent, ``false`` or ``0``; all else is true, even nothing (``?follow``)."""
        return self.request.query.get(parameter, "0").lower() not in ("false", "0")

    def optional_flag(self, parameter: str) -> bool | None:
        """``None`` when the parameter is absent."""
        return self.flag(parameter) if parameter in self.request.query else None

    def integer(self, parameter: str) -> int | None:
        """``None`` when absent or empty.  Raises ApiError (400) for what is no number of 64 bits."""
        value = self.request.query.get(parameter, "")
        if not value:
            return None
        if not _INTEGER.fullmatch(value):
            raise errors.bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        digits = value.lstrip("+-0")
        if len(digits) > _INT64_DIGITS or not -(1 << 63) <= int(value) < 1 << 63:
            raise errors.bad_request(f'strconv.ParseInt: parsing "{value}": value out of range')
        return int(value)

    @property
    def dry_run(self) -> bool:
        """``dryRun=All``.  Raises ApiError for any other value."""
        values = [value for value in self.request.query.getall("dryRun", []) if value]
        if any(value != "All" for value in values):
            raise errors.bad_request(f'Unsupported value: "{values[0]}": supported values: "All"')
        return bool(values)


def is_long_running(call: Call) -> bool:
    """Watch, log, exec, attach, port-forward, proxy: requests that end when somebody wants them to."""
    verb = call.route.verb
    return call.route.subresource in _STREAMS or verb == "watch" or (verb == "list" and call.flag("watch"))


def reads_from_client(call: Call) -> bool:
    """Streams that may stop reading from their client while somebody else does not read."""
    return call.route.subresource in _TWO_WAY
