"""Handlers of the pods' own subresources: log, exec, attach, port-forward, binding."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from podhost.aiokit.clock import Clock
from podhost.api import errors
from podhost.api.field_errors import aggregate
from podhost.api.kinds import POD
from podhost.api.review_kinds import BINDING, EVICTION
from podhost.apiserver import answers, binding, bodies, identity
from podhost.apiserver.call import Call
from podhost.apiserver.delete_options import parse_delete_options
from podhost.apiserver.pod_logs import stream_log
from podhost.apiserver.pod_streams import serve_attach, serve_exec
from podhost.apiserver.port_forward import serve_port_forward
from podhost.apiserver.registry import Registry
from podhost.apiserver.write_options import read_write_options
from podhost.cri.node import NodeApi

Obj = dict[str, Any]


class PodHandlers:
    """What needs the node that runs the pod."""

    def __init__(self, registry: Registry, node: NodeApi, clock: Clock) -> None:
        self._registry = registry
        self._node = node
        self._clock = clock

    async def log(self, call: Call) -> web.StreamResponse:
        return await stream_log(call, self._pod(call), self._node, self._clock)

    async def exec(self, call: Call) -> web.StreamResponse:
        return await serve_exec(call, self._pod(call), self._node)

    async def attach(self, call: Call) -> web.StreamResponse:
        return await serve_attach(call, self._pod(call), self._node)

    async def port_forward(self, call: Call) -> web.StreamResponse:
        return await serve_port_forward(call, self._pod(call), self._node)

    async def bind(self, call: Call) -> web.StreamResponse:
        """``pods/binding``, and ``bindings``, whose URL does not name the pod."""
        options = read_write_options(call, "CreateOptions")
        order = await bodies.read_object(call, BINDING, options.validation)
        identity.check_namespace(POD, order["metadata"], call.namespace)
        if call.route.subresource:
            identity.check_named_twice(BINDING, order["metadata"], call.name)
        call.noted["name"] = order["metadata"].get("name", "")
        if problems := binding.find_problems(order):
            # 500 as in Kubernetes, which does not say either that it is the request's fault.
            raise errors.ApiError(500, "", aggregate([problem.message for problem in problems]))
        self._registry.bind(call.namespace, order, dry_run=options.dry_run)
        return _succeeded()

    async def evict(self, call: Call) -> web.StreamResponse:
        """A deletion that may be refused; there is nothing here that would refuse it (no PodDisruptionBudget)."""
        options = read_write_options(call, "CreateOptions")
        body = await bodies.read_object(call, EVICTION, options.validation)
        identity.check_namespace(POD, body["metadata"], call.namespace)
        identity.check_named_twice(EVICTION, body["metadata"], call.name)
        wishes = parse_delete_options(body.get("deleteOptions") or {}, dry_run=options.dry_run)
        self._registry.delete(POD, call.namespace, call.name, wishes)
        return _succeeded()

    def _pod(self, call: Call) -> Obj:
        return self._registry.get(POD, call.namespace, call.name)


def _succeeded() -> web.Response:
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answers.answer_json(success, code=201)
