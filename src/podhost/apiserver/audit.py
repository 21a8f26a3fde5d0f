"""The audit log's events: who asked for what, and what came of it (``audit.k8s.io/v1``, level ``Metadata``).

A request is reported when it comes, when its answer begins if it is long-running, and when it is over.  Bodies and
headers with credentials are never in it; URLs are, with the command of an exec.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import uuid4

from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api.errors import ApiError
from podhost.api.time import format_micro_time
from podhost.apiserver.authn import User
from podhost.apiserver.authz import build_attributes
from podhost.apiserver.call import Call, is_long_running
from podhost.apiserver.connections import name_peer

Obj = dict[str, Any]
Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete"]
_MAX_TEXT = 4096
_AUDIT_ID = "Audit-Id"


class AuditSink(Protocol):
    """Where events go."""

    def record(self, event: Obj) -> None:
        """Never waits and never raises; what cannot be kept is dropped."""


class Auditor:
    """Reports requests to the sink.  One object for each request that was authenticated."""

    def __init__(self, sink: AuditSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._running: dict[int, AuditedRequest] = {}

    def begin(self, call: Call, authenticated: User) -> None:
        """``authenticated`` is who made the request, before impersonation.  To be followed by :meth:`end`."""
        audited = AuditedRequest(self._sink, self._clock, call, authenticated, self._clock.now())
        self._running[id(call.request)] = audited
        audited.report("RequestReceived")

    async def on_answer(self, request: web.Request, response: web.StreamResponse) -> None:
        """The answer's head is about to be sent: a signal of the application."""
        audited = self._running.get(id(request))
        if audited is not None:
            audited.on_answer(response)

    def end(
        self, request: web.Request, response: web.StreamResponse | None, error: ApiError | None, user: User | None
    ) -> None:
        """The request is over.

        ``response`` is ``None`` when its client has gone, ``error`` what it was answered with, ``user`` who it was of
        when that is known.
        """
        audited = self._running.pop(id(request), None)
        if audited is not None:
            if response is not None and not response.prepared:
                audited.on_answer(response)
            audited.end(200 if response is None else response.status, error)
        elif error is not None:
            self._report_unrouted(request, error, user)

    def _report_unrouted(self, request: web.Request, error: ApiError, user: User | None) -> None:
        """Credentials that are not good (no ``user``), or a path that is not there."""
        now = format_micro_time(self._clock.now())
        verb = request.method.lower()
        status = {"metadata": {}, "status": "Failure", "message": error.message, "reason": error.reason}
        event = _frame(request, str(uuid4()), verb, {} if user is None else user.to_document(), now) | {
            "stage": "ResponseStarted" if user is None else "ResponseComplete",
            "responseStatus": status | {"code": error.code},
            "stageTimestamp": now,
        }
        self._sink.record(event)


@dataclass(slots=True)
class AuditedRequest:
    """What is known of one request while it is served."""

    _sink: AuditSink
    _clock: Clock
    _call: Call
    _authenticated: User
    _received: datetime
    _id: str = ""
    _started: bool = False

    def __post_init__(self) -> None:
        self._id = str(uuid4())

    def on_answer(self, response: web.StreamResponse) -> None:
        """The answer's head is about to be sent."""
        response.headers[_AUDIT_ID] = self._id
        if is_long_running(self._call) and not self._started:
            self._started = True
            self.report("ResponseStarted", {"metadata": {}, "code": response.status})

    def end(self, code: int, error: ApiError | None) -> None:
        """Nothing more will be sent."""
        status: Obj = {"metadata": {}, "code": code}
        if error is not None:
            status = {key: value for key, value in error.status.items() if key not in ("kind", "apiVersion")}
        if is_long_running(self._call) and not self._started:
            self._started = True
            self.report("ResponseStarted", status)
        self.report("ResponseComplete", status)

    def report(self, stage: Stage, status: Obj | None = None) -> None:
        moment = self._received if stage == "RequestReceived" else self._clock.now()
        event = self._describe() | {"stage": stage, "stageTimestamp": format_micro_time(moment)}
        if status is not None:
            event["responseStatus"] = status
        self._sink.record(event)

    def _describe(self) -> Obj:
        call = self._call
        wanted = build_attributes(call)
        received = format_micro_time(self._received)
        event = _frame(call.request, self._id, wanted.verb, self._authenticated.to_document(), received)
        if call.user is not self._authenticated:
            event["impersonatedUser"] = call.user.to_document()
        if call.route.kind is not None:
            reference = {
                "resource": wanted.resource,
                "namespace": call.namespace,
                "name": call.name or call.noted.get("name", ""),
                "apiGroup": wanted.group,
                "apiVersion": call.route.kind.version,
                "subresource": wanted.subresource,
            }
            event["objectRef"] = {key: value for key, value in reference.items() if value}
        return event


def _frame(request: web.Request, audit_id: str, verb: str, user: Obj, received: str) -> Obj:
    peer = name_peer(request.transport) if request.transport is not None else ""
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "requestURI": request.raw_path[:_MAX_TEXT],
        "verb": verb,
        "user": user,
        "sourceIPs": [peer] if peer[:1].isdigit() or ":" in peer else [],
        "userAgent": request.headers.get("User-Agent", "")[:_MAX_TEXT],
        "requestReceivedTimestamp": received,
    }
