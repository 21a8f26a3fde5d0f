"""Services of the instance itself: ``default/kubernetes``, the API, and ``kube-system/kube-dns``, its name server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import API_SERVER, compute_merged, ensure_content, ensure_created, update_managed
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

_SLICES = "endpointslices.discovery.k8s.io"
_RESOURCES = ("services", "endpoints", _SLICES)

Place = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinPort:
    """``target`` is the port that is really listened on."""

    name: str
    port: int
    target: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinService:
    """A service without pods behind it."""

    namespace: str
    name: str
    cluster_ip: str
    address: str
    """Where it listens; not a loopback address, which pods could not reach."""
    ports: tuple[BuiltinPort, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return self.namespace, self.name


def build_api_service(*, cluster_ip: str, address: str, port: int) -> BuiltinService:
    """By custom at the first address of the range."""
    return BuiltinService(
        namespace="default",
        name="kubernetes",
        cluster_ip=cluster_ip,
        address=address,
        ports=(BuiltinPort(name="https", port=443, target=port),),
        labels={"component": "apiserver", "provider": "kubernetes"},
    )


def build_dns_service(*, cluster_ip: str, address: str, port: int) -> BuiltinService:
    """By custom at the tenth address of the range, with the labels by which tools look for it."""
    return BuiltinService(
        namespace="kube-system",
        name="kube-dns",
        cluster_ip=cluster_ip,
        address=address,
        ports=(
            BuiltinPort(name="dns", port=53, target=port, protocol="UDP"),
            BuiltinPort(name="dns-tcp", port=53, target=port),
        ),
        labels={"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
    )


def build_service(wanted: BuiltinService) -> dict[str, Any]:
    ports = [{"name": p.name, "port": p.port, "protocol": p.protocol, "targetPort": p.target} for p in wanted.ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": wanted.name, "namespace": wanted.namespace, "labels": dict(wanted.labels)},
        "spec": {
            "clusterIP": wanted.cluster_ip,
            "clusterIPs": [wanted.cluster_ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": ports,
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def build_endpoints(wanted: BuiltinService) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.namespace,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": wanted.address}], "ports": _endpoint_ports(wanted)}],
    }


def build_slice(wanted: BuiltinService) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.namespace,
            "labels": {"kubernetes.io/service-name": wanted.name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [wanted.address], "conditions": {"ready": True}}],
        "ports": _endpoint_ports(wanted),
    }


def _endpoint_ports(wanted: BuiltinService) -> list[dict[str, Any]]:
    return [{"name": p.name, "port": p.target, "protocol": p.protocol} for p in wanted.ports]


class BuiltinServiceController:
    """Keeps their objects as they have to be, also when a user deletes one."""

    def __init__(self, store: Store, clock: Clock, *services: BuiltinService) -> None:
        self._store = store
        self._clock = clock
        self._services = {service.place: service for service in services}
        self._loop: ReconcileLoop[Place] = ReconcileLoop(store, "builtin services", self.reconcile)

    async def start(self) -> None:
        """They exist when this returns."""
        for place in self._services:
            self.reconcile(place)
        for resource in _RESOURCES:
            self._loop.watch(resource, self._on_event)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, place: Place) -> None:
        wanted = self._services[place]
        self._ensure_service(wanted)
        for resource, obj in (("endpoints", build_endpoints(wanted)), (_SLICES, build_slice(wanted))):
            ensure_content(self._store, self._clock, ObjectKey(resource, *place), obj, API_SERVER)

    def _ensure_service(self, wanted: BuiltinService) -> None:
        key = ObjectKey("services", *wanted.place)
        document = build_service(wanted)
        found = ensure_created(self._store, self._clock, key, document, API_SERVER)
        # Only where it leads is ours; labels and the like may be a user's.
        spec = {**found["spec"], **{part: document["spec"][part] for part in ("clusterIP", "clusterIPs", "ports")}}
        changed = compute_merged(found, {"metadata": {}, "spec": spec})
        if changed is not None:
            update_managed(self._store, self._clock, key, changed, API_SERVER)

    def _on_event(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        place = (metadata.get("namespace", ""), metadata["name"])
        if place in self._services:
            self._loop.mark(place)
