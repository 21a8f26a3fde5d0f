"""The service ``default/kubernetes``: the API's own address for clients in pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podhost.aiokit.clock import Clock
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import compute_merged, ensure_content, ensure_created
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

NAME = "kubernetes"
NAMESPACE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiEndpoint:
    """Where the API is."""

    cluster_ip: str
    """The service's address, by custom the first of the range."""
    address: str
    """Where it listens; not a loopback address, which pods could not reach."""
    port: int


def build_service(endpoint: ApiEndpoint) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": endpoint.cluster_ip,
            "clusterIPs": [endpoint.cluster_ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": endpoint.port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def build_endpoints(endpoint: ApiEndpoint) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": endpoint.address}],
                "ports": [{"name": "https", "port": endpoint.port, "protocol": "TCP"}],
            }
        ],
    }


def build_slice(endpoint: ApiEndpoint) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [endpoint.address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": endpoint.port, "protocol": "TCP"}],
    }


class KubernetesServiceController:
    """Keeps the three objects as they have to be, also when a user deletes one."""

    def __init__(self, store: Store, clock: Clock, endpoint: ApiEndpoint) -> None:
        self._store = store
        self._clock = clock
        self._endpoint = endpoint
        self._loop: ReconcileLoop[str] = ReconcileLoop(store, "kubernetes service", self.reconcile)

    async def start(self) -> None:
        """They exist when this returns."""
        self.reconcile(NAME)
        for resource in ("services", "endpoints", "endpointslices.discovery.k8s.io"):
            self._loop.watch(resource, self._on_event)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, name: str) -> None:
        del name
        self._ensure_service()
        wanted = (
            ("endpoints", build_endpoints(self._endpoint)),
            ("endpointslices.discovery.k8s.io", build_slice(self._endpoint)),
        )
        for resource, obj in wanted:
            ensure_content(self._store, self._clock, ObjectKey(resource, NAMESPACE, NAME), obj)

    def _ensure_service(self) -> None:
        key = ObjectKey("services", NAMESPACE, NAME)
        wanted = build_service(self._endpoint)
        found = ensure_created(self._store, self._clock, key, wanted)
        # Only where it leads is ours; labels and the like may be a user's.
        spec = {**found["spec"], **{part: wanted["spec"][part] for part in ("clusterIP", "clusterIPs", "ports")}}
        changed = compute_merged(found, {"metadata": {}, "spec": spec})
        if changed is not None:
            self._store.update(key, changed)

    def _on_event(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        if (metadata.get("namespace"), metadata["name"]) == (NAMESPACE, NAME):
            self._loop.mark(NAME)
