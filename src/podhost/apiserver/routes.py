"""The route table: every path and method that the server answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podhost.api.kind import Kind
from podhost.api.kinds import NODE, POD, SERVICE, SERVICE_ACCOUNT
from podhost.api.pod_channels import POD_CHANNELS
from podhost.api.review_kinds import BINDING, REVIEW_KINDS
from podhost.api.usage_kinds import USAGE_KINDS
from podhost.apiserver.channel_handlers import ChannelHandlers
from podhost.apiserver.issuer_handlers import IssuerHandlers
from podhost.apiserver.meta_handlers import MetaHandlers
from podhost.apiserver.node_proxy import NodeProxyHandlers
from podhost.apiserver.own_api import OwnApiHandlers
from podhost.apiserver.pod_handlers import PodHandlers
from podhost.apiserver.proxy_handlers import ProxyHandlers
from podhost.apiserver.resource_handlers import ResourceHandlers
from podhost.apiserver.review_handlers import ReviewHandlers
from podhost.apiserver.routing import Access, Handler, Route
from podhost.apiserver.usage_handlers import UsageHandlers

PROXY = "proxy"
OWN = "/apis/podhost.dev/v1alpha1"

_PROXY_VERBS = (
    ("GET", "get"),
    ("HEAD", "get"),
    ("OPTIONS", "get"),
    ("POST", "create"),
    ("PUT", "update"),
    ("PATCH", "patch"),
    ("DELETE", "delete"),
)


def build_meta_routes(meta: MetaHandlers) -> list[Route]:
    """Version, discovery, OpenAPI."""
    public, known = Access.PUBLIC, Access.GRANTED
    table: tuple[tuple[str, Handler, Access], ...] = (
        ("/", meta.root, known),
        ("/version", meta.version, public),
        ("/api", meta.api, known),
        ("/apis", meta.apis, known),
        ("/api/v1", meta.core_resources, known),
        ("/apis/{group}", meta.group, known),
        ("/apis/{group}/{version}", meta.group_resources, known),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", meta.no_custom_resources, known),
        ("/openapi/v2", meta.openapi_v2, known),
        ("/openapi/v3", meta.openapi_v3, known),
        ("/openapi/v3/api/v1", meta.openapi_v3_group, known),
        ("/openapi/v3/apis/{group}/{version}", meta.openapi_v3_group, known),
    )
    return [
        Route(method="GET", pattern=pattern, verb="get", handler=handler, access=access)
        for pattern, handler, access in table
    ]


def build_own_routes(own: OwnApiHandlers) -> list[Route]:
    """podhost's own API."""
    table: tuple[tuple[str, str, str, Handler], ...] = (
        ("GET", "/images", "list", own.list_images),
        ("GET", "/images/{ref}", "get", own.inspect_image),
        ("GET", "/pulls", "watch", own.watch_pulls),
        ("DELETE", "/images/{ref}", "delete", own.remove_image),
        ("POST", "/images/pull", "create", own.pull_image),
        ("POST", "/images/load", "create", own.load_image),
        ("POST", "/images/build", "create", own.build_image),
        ("POST", "/images/tag", "create", own.tag_image),
        ("POST", "/images/prune", "delete", own.prune_images),
        ("GET", "/kubeconfig", "get", own.kubeconfig),
        ("GET", "/info", "get", own.info),
        ("POST", "/stop", "create", own.stop),
    )
    return [
        Route(method=method, pattern=OWN + path, verb=verb, handler=handler) for method, path, verb, handler in table
    ]


def build_resource_routes(kinds: Iterable[Kind], resources: ResourceHandlers, pods: PodHandlers) -> Iterator[Route]:
    """The same verbs for every kind, and the subresources that it declares."""
    for kind in kinds:
        yield from _kind_routes(kind, resources)
        for sub in kind.subresources:
            if sub.name not in ("token", PROXY):
                yield from _subresource_routes(kind, sub.name, resources, pods)


def build_binding_routes(pods: PodHandlers) -> Iterator[Route]:
    """The older way to bind: the pod's name is in the body only."""
    yield Route(method="POST", pattern=_paths(BINDING)[1], verb="create", handler=pods.bind, kind=BINDING)


def build_proxy_routes(proxy: ProxyHandlers, node: NodeProxyHandlers) -> Iterator[Route]:
    """HTTP through the API server to pods and to the node, of every method and on every path."""
    for kind, handler in ((POD, proxy.pod), (SERVICE, proxy.service), (NODE, node.serve)):
        pattern = _paths(kind)[2] + "/proxy/*"
        for method, verb in _PROXY_VERBS:
            yield Route(method=method, pattern=pattern, verb=verb, handler=handler, kind=kind, subresource=PROXY)


def build_review_routes(reviews: ReviewHandlers) -> Iterator[Route]:
    """Created, answered, forgotten; and tokens of ServiceAccounts."""
    for kind in REVIEW_KINDS:
        yield Route(method="POST", pattern=_paths(kind)[1], verb="create", handler=reviews.review, kind=kind)
    token = f"{_paths(SERVICE_ACCOUNT)[2]}/token"
    yield Route(
        method="POST",
        pattern=token,
        verb="create",
        handler=reviews.request_token,
        kind=SERVICE_ACCOUNT,
        subresource="token",
    )


def build_issuer_routes(issuer: IssuerHandlers) -> Iterator[Route]:
    """Public keys; by Kubernetes' default roles for ServiceAccounts only."""
    for pattern, handler in (
        ("/.well-known/openid-configuration", issuer.discovery),
        ("/openid/v1/jwks", issuer.keys),
    ):
        yield Route(method="GET", pattern=pattern, verb="get", handler=handler)


def build_channel_routes(channels: ChannelHandlers) -> Iterator[Route]:
    """``podchannels``: observed, not stored, and so without the generic handlers."""
    everything, collection, item = _paths(POD_CHANNELS)
    for pattern, verb, handler in (
        (everything, "list", channels.list_or_watch),
        (collection, "list", channels.list_or_watch),
        (item, "get", channels.get),
    ):
        yield Route(method="GET", pattern=pattern, verb=verb, handler=handler, kind=POD_CHANNELS)


def build_usage_routes(usage: UsageHandlers) -> Iterator[Route]:
    """``metrics.k8s.io`` and ``podstats``: measured, not stored."""
    for kind in USAGE_KINDS:
        everything, collection, item = _paths(kind)
        for pattern in dict.fromkeys((everything, collection)):
            yield Route(method="GET", pattern=pattern, verb="list", handler=usage.list, kind=kind)
        yield Route(method="GET", pattern=item, verb="get", handler=usage.get, kind=kind)


def _paths(kind: Kind) -> tuple[str, str, str]:
    """Path of all objects, of a collection, of one object."""
    prefix = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    everything = f"{prefix}/{kind.plural}"
    collection = f"{prefix}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else everything
    return everything, collection, collection + "/{name}"


def _kind_routes(kind: Kind, handlers: ResourceHandlers) -> Iterator[Route]:
    everything, collection, item = _paths(kind)
    table: tuple[tuple[str, str, str, Handler], ...] = (
        ("GET", collection, "list", handlers.list_or_watch),
        ("POST", collection, "create", handlers.create),
        ("DELETE", collection, "deletecollection", handlers.delete_collection),
        ("GET", item, "get", handlers.get),
        ("PUT", item, "update", handlers.update),
        ("PATCH", item, "patch", handlers.patch),
        ("DELETE", item, "delete", handlers.delete),
    )
    for method, pattern, verb, handler in table:
        if verb in kind.verbs:
            yield Route(method=method, pattern=pattern, verb=verb, handler=handler, kind=kind)
    if kind.namespaced:
        yield Route(method="GET", pattern=everything, verb="list", handler=handlers.list_or_watch, kind=kind)


def _subresource_routes(kind: Kind, name: str, resources: ResourceHandlers, pods: PodHandlers) -> Iterator[Route]:
    tables: dict[str, tuple[tuple[str, str, Handler], ...]] = {
        "status": (
            ("GET", "get", resources.get),
            ("PUT", "update", resources.update),
            ("PATCH", "patch", resources.patch),
        ),
        "resize": (
            ("GET", "get", resources.get),
            ("PUT", "update", resources.update),
            ("PATCH", "patch", resources.patch),
        ),
        "ephemeralcontainers": (
            ("GET", "get", resources.get),
            ("PUT", "update", resources.update),
            ("PATCH", "patch", resources.patch),
        ),
        "finalize": (("PUT", "update", resources.update),),
        "binding": (("POST", "create", pods.bind),),
        "eviction": (("POST", "create", pods.evict),),
        "log": (("GET", "get", pods.log),),
        "exec": (("GET", "get", pods.exec), ("POST", "create", pods.exec)),
        "attach": (("GET", "get", pods.attach), ("POST", "create", pods.attach)),
        "portforward": (("GET", "get", pods.port_forward), ("POST", "create", pods.port_forward)),
    }
    pattern = f"{_paths(kind)[2]}/{name}"
    for method, verb, handler in tables[name]:
        yield Route(method=method, pattern=pattern, verb=verb, handler=handler, kind=kind, subresource=name)
