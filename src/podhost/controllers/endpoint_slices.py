"""Keeps EndpointSlices and Endpoints of services in step with their pods."""

from __future__ import annotations

from podhost.aiokit.clock import Clock
from podhost.api.names import generate_name
from podhost.controllers import endpoints
from podhost.controllers.endpoints import SliceContent
from podhost.controllers.loop import ReconcileLoop
from podhost.controllers.objects import (
    Doc,
    Obj,
    compute_merged,
    delete_if_there,
    ensure_content,
    with_managers,
    with_server_fields,
)
from podhost.store.keys import ObjectKey
from podhost.store.store import Store
from podhost.store.watch import WatchEvent

SLICES = "endpointslices.discovery.k8s.io"

ServiceKey = tuple[str, str]


class EndpointSliceController:
    """One reconcile pass a service: all its slices and its Endpoints object."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._loop: ReconcileLoop[ServiceKey] = ReconcileLoop(store, "endpoint slices", self.reconcile)
        self._selectors: dict[str, dict[str, dict[str, str]]] = {}
        self._slices: dict[ServiceKey, set[str]] = {}

    async def start(self) -> None:
        self._loop.watch("services", self._on_service)
        self._loop.watch("pods", self._on_pod)
        self._loop.watch(SLICES, self._on_slice)
        self._loop.watch("endpoints", self._on_endpoints)
        self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    def reconcile(self, key: ServiceKey) -> None:
        """Bring the endpoints of one service up to date; writes nothing when they are."""
        service = self._store.find(ObjectKey("services", *key))
        if service is None:
            self._remove(key)
        elif endpoints.has_endpoints(service) and "deletionTimestamp" not in service["metadata"]:
            selector = service["spec"]["selector"]
            pods = [
                pod
                for pod in self._store.list("pods", key[0])[0]
                if endpoints.selects(selector, pod["metadata"].get("labels"))
            ]
            self._ensure_slices(key, service, endpoints.compute_slices(service, pods))
            wanted = endpoints.build_endpoints(service, pods)
            ensure_content(self._store, self._clock, ObjectKey("endpoints", *key), wanted)
        elif "deletionTimestamp" not in service["metadata"]:
            self._mirror(key, service)

    def _mirror(self, key: ServiceKey, service: Doc) -> None:
        """Slices for the Endpoints that a user wrote for a service without selector."""
        written = self._store.find(ObjectKey("endpoints", *key))
        if written is None or not endpoints.is_mirrored(written):
            self._ensure_slices(key, service, [])
        else:
            self._ensure_slices(key, service, endpoints.compute_mirrored_slices(written), mirrored=written)

    def _own_slices(self, key: ServiceKey) -> list[Obj]:
        names = sorted(self._slices.get(key, ()))
        found = (self._store.find(ObjectKey(SLICES, key[0], name)) for name in names)
        return [slice_ for slice_ in found if slice_ is not None]

    def _ensure_slices(
        self, key: ServiceKey, service: Doc, wanted: list[SliceContent], *, mirrored: Doc | None = None
    ) -> None:
        existing = self._own_slices(key)
        for content in wanted:
            fitting = [old for old in existing if _ports_of(old) == content.ports]
            reused = next(iter(fitting or existing), None)
            if reused is None:
                name = generate_name(f"{key[1]}-")
                slice_ = with_server_fields(
                    endpoints.build_slice(service, content, name, mirrored=mirrored), self._clock
                )
                slice_["metadata"]["generation"] = 1
                place = ObjectKey(SLICES, key[0], name)
                self._store.create(place, with_managers(place, None, slice_, self._clock))
                continue
            existing.remove(reused)
            name = reused["metadata"]["name"]
            self._update(key, reused, endpoints.build_slice(service, content, name, mirrored=mirrored))
        for unused in existing:
            delete_if_there(self._store, ObjectKey(SLICES, key[0], unused["metadata"]["name"]))

    def _update(self, key: ServiceKey, old: Obj, wanted: Obj) -> None:
        changed = compute_merged(old, wanted)
        if changed is not None:
            changed["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            place = ObjectKey(SLICES, key[0], old["metadata"]["name"])
            self._store.update(place, with_managers(place, old, changed, self._clock))

    def _remove(self, key: ServiceKey) -> None:
        for slice_ in self._own_slices(key):
            delete_if_there(self._store, ObjectKey(SLICES, key[0], slice_["metadata"]["name"]))
        place = ObjectKey("endpoints", *key)
        found = self._store.find(place)
        labels = (found or {"metadata": {}})["metadata"].get("labels") or {}
        if labels.get(endpoints.ENDPOINTS_MANAGED_BY_LABEL) == endpoints.ENDPOINTS_MANAGER:
            delete_if_there(self._store, place)

    def _on_service(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        selectors = self._selectors.setdefault(metadata["namespace"], {})
        if event.type == "DELETED" or not endpoints.has_endpoints(event.object):
            selectors.pop(metadata["name"], None)
        else:
            selectors[metadata["name"]] = event.object["spec"]["selector"]
        self._loop.mark((metadata["namespace"], metadata["name"]))

    def _on_pod(self, event: WatchEvent) -> None:
        pod, previous = event.object, event.previous
        changed = previous is None or event.type == "DELETED"
        if not changed and previous is not None and endpoints.pod_facts(pod) == endpoints.pod_facts(previous):
            return
        namespace = pod["metadata"]["namespace"]
        versions = [pod] if previous is None else [pod, previous]
        for name, selector in self._selectors.get(namespace, {}).items():
            if any(endpoints.selects(selector, version["metadata"].get("labels")) for version in versions):
                self._loop.mark((namespace, name))

    def _on_slice(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        labels = metadata.get("labels") or {}
        service = labels.get(endpoints.SERVICE_NAME_LABEL)
        ours = (endpoints.SLICE_MANAGER, endpoints.MIRROR_MANAGER)
        if not service or labels.get(endpoints.MANAGED_BY_LABEL) not in ours:
            return
        key = (metadata["namespace"], service)
        if event.type == "DELETED":
            self._slices.get(key, set()).discard(metadata["name"])
        else:
            self._slices.setdefault(key, set()).add(metadata["name"])
        self._loop.mark(key)

    def _on_endpoints(self, event: WatchEvent) -> None:
        metadata = event.object["metadata"]
        self._loop.mark((metadata["namespace"], metadata["name"]))


def _ports_of(slice_: Doc) -> tuple[endpoints.Port, ...]:
    return tuple(
        sorted(
            (port.get("name") or "", port.get("protocol") or "TCP", port["port"], port.get("appProtocol") or "")
            for port in slice_.get("ports") or []
        )
    )
