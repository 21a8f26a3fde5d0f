"""The ``proxy`` subresource of nodes: the kubelet's own paths, and other ports of the node's address."""

from __future__ import annotations

from urllib.parse import unquote

from aiohttp import web

from podhost.api.errors import ApiError
from podhost.api.kinds import NODE
from podhost.apiserver.call import Call
from podhost.apiserver.proxy_handlers import ProxyHandlers, split_path
from podhost.apiserver.proxy_target import find_node_target, parse_name
from podhost.apiserver.registry import Registry
from podhost.cri.node import NodeHttpApi

_KUBELET_PORT = "10250"
_SEGMENTS = 5
"""Of ``/api/v1/nodes/NAME/proxy``."""


class NodeProxyHandlers:
    """Requests through the API server to this node."""

    def __init__(self, registry: Registry, proxy: ProxyHandlers, node: NodeHttpApi) -> None:
        self._registry = registry
        self._proxy = proxy
        self._node = node

    async def serve(self, call: Call) -> web.StreamResponse:
        wanted = parse_name(call.name, "node")
        node = self._registry.get(NODE, "", wanted.name)
        if wanted.port not in ("", _KUBELET_PORT):
            return await self._proxy.serve(call, find_node_target(wanted, node), _SEGMENTS)
        return await self._ask_kubelet(call.request)

    async def _ask_kubelet(self, request: web.Request) -> web.StreamResponse:
        _, raw_path = split_path(request.rel_url.raw_path, _SEGMENTS)
        known = ", ".join(self._node.paths)
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "MethodNotAllowed", f"the kubelet's paths can only be read: {known}")
        answer = await self._node.get(unquote(raw_path), request.query)
        if answer is None:
            path = unquote(raw_path) or "/"
            raise ApiError(404, "NotFound", f"podhost has no {path} of a kubelet; it has {known}")
        return web.Response(body=answer.body, headers={"Content-Type": answer.content_type})
