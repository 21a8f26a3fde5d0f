"""The audit log's events: who asked for what, and what came of it (``audit.k8s.io/v1``).

A request is reported when it comes, when its answer begins if it is long-running, and when it is over.  Headers with
credentials are never in it, bodies only where the policy asks for them; URLs are, with the command of an exec.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import uuid4

import msgspec
from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api.errors import ApiError
from podhost.api.rbac import Attributes
from podhost.api.time import format_micro_time
from podhost.apiserver.audit_policy import EVERYTHING, LEVEL_NAMES, AuditPolicy, Decision, Level
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

    def __init__(self, sink: AuditSink, clock: Clock, policy: AuditPolicy = EVERYTHING) -> None:
        self._sink = sink
        self._clock = clock
        self._policy = policy
        self._running: dict[int, AuditedRequest] = {}

    def begin(self, call: Call, authenticated: User) -> None:
        """``authenticated`` is who made the request, before impersonation.  To be followed by :meth:`end`."""
        decision = self._policy.decide(build_attributes(call), authenticated.name, authenticated.groups)
        audited = AuditedRequest(self._sink, self._clock, call, authenticated, self._clock.now(), decision)
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
            audited.end(response, error)
        elif error is not None:
            self._report_unrouted(request, error, user)

    def _report_unrouted(self, request: web.Request, error: ApiError, user: User | None) -> None:
        """Credentials that are not good (no ``user``), or a path that is not there."""
        now = format_micro_time(self._clock.now())
        verb = request.method.lower()
        who = ("", ()) if user is None else (user.name, user.groups)
        if self._policy.decide(Attributes(verb=verb, path=request.path), *who).level is Level.NONE:
            return
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
    _decision: Decision
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

    def end(self, response: web.StreamResponse | None, error: ApiError | None) -> None:
        """Nothing more will be sent."""
        status: Obj = {"metadata": {}, "code": 200 if response is None else response.status}
        if error is not None:
            status = {key: value for key, value in error.status.items() if key not in ("kind", "apiVersion")}
        if is_long_running(self._call) and not self._started:
            self._started = True
            self.report("ResponseStarted", status)
        self.report("ResponseComplete", status, self._read_bodies(response))

    def report(self, stage: Stage, status: Obj | None = None, bodies: Obj | None = None) -> None:
        if self._decision.level is Level.NONE or stage in self._decision.omitted_stages:
            return
        moment = self._received if stage == "RequestReceived" else self._clock.now()
        event = self._describe() | {"stage": stage, "stageTimestamp": format_micro_time(moment)}
        if status is not None:
            event["responseStatus"] = status
        self._sink.record(event | (bodies or {}))

    def _read_bodies(self, response: web.StreamResponse | None) -> Obj:
        """As far as the policy asks for them: objects only, and none of a stream."""
        level = self._decision.level
        if level < Level.REQUEST or self._call.route.kind is None or is_long_running(self._call):
            return {}
        answer = response.body if isinstance(response, web.Response) and level is Level.RESPONSE else None
        found = {"requestObject": self._call.request._read_bytes, "responseObject": answer}
        return {
            name: document
            for name, body in found.items()
            if isinstance(body, bytes) and (document := self._decode(body)) is not None
        }

    def _decode(self, body: bytes) -> Any:
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if self._decision.omits_managed_fields and isinstance(document, dict):
            for each in (document, *(document.get("items") or ())):
                if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
                    each["metadata"].pop("managedFields", None)
        return document

    def _describe(self) -> Obj:
        call = self._call
        wanted = build_attributes(call)
        received = format_micro_time(self._received)
        event = _frame(call.request, self._id, wanted.verb, self._authenticated.to_document(), received)
        event["level"] = LEVEL_NAMES[self._decision.level]
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
