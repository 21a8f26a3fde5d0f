"""Which pods answer for a service: its EndpointSlices and its Endpoints.  Pure.

As Kubernetes' endpointslice and endpoints controllers decide it: a pod counts when its labels match, it has an
address and has not run to its end; it is ready by its ``Ready`` condition, or at once with
``publishNotReadyAddresses``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.api.objects import is_terminal
from podhost.controllers.objects import Doc, Obj, build_owner_reference

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER = "endpointslice-controller.k8s.io"
MIRROR_MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR_LABEL = "endpointslice.kubernetes.io/skip-mirror"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ENDPOINTS_MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
ENDPOINTS_MANAGER = "endpoint-controller"
MAX_ENDPOINTS_PER_SLICE = 100

Port = tuple[str, str, int, str]
"""Name, protocol, number, appProtocol."""


@dataclass(frozen=True, slots=True)
class SliceContent:
    """What an EndpointSlice of a service holds."""

    ports: tuple[Port, ...]
    endpoints: tuple[Obj, ...]


def has_endpoints(service: Doc) -> bool:
    """Whether endpoints are kept for a service; without a selector they are the user's."""
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Doc) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def selects(selector: Mapping[str, str], labels: Mapping[str, str] | None) -> bool:
    """Whether all of a service's selector is among the labels."""
    return bool(labels) and all((labels or {}).get(key) == value for key, value in selector.items())


def pod_facts(pod: Doc) -> tuple[Any, ...]:
    """All that endpoints depend on; while it stays the same, a pod's status may change at will."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    return (
        metadata.get("labels"),
        metadata.get("deletionTimestamp") is not None,
        metadata.get("uid"),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
        status.get("podIP"),
        is_terminal(pod),
        is_ready(pod),
    )


def is_ready(pod: Doc) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def compute_slices(service: Doc, pods: Iterable[Doc]) -> list[SliceContent]:
    """The slices that a service should have: endpoints with the same ports together, at most 100 in each."""
    groups: dict[tuple[Port, ...], list[Obj]] = {}
    for pod in sorted(pods, key=_by_address):
        if _can_be_endpoint(pod):
            groups.setdefault(_resolve_ports(service, pod), []).append(_build_endpoint(service, pod))
    # A service without pods keeps one slice, which says so.
    groups = groups or {(): []}
    size = MAX_ENDPOINTS_PER_SLICE
    return [
        SliceContent(ports, tuple(endpoints[at : at + size]))
        for ports, endpoints in sorted(groups.items(), key=lambda group: group[0])
        for at in range(0, max(len(endpoints), 1), size)
    ]


def is_mirrored(endpoints: Doc) -> bool:
    """Whether a user's Endpoints object is to be shown as slices too."""
    return (endpoints["metadata"].get("labels") or {}).get(SKIP_MIRROR_LABEL) != "true"


def compute_mirrored_slices(endpoints: Doc) -> list[SliceContent]:
    """Slices with the content of a user's Endpoints object: one for each of its subsets with addresses."""
    slices = []
    for subset in endpoints.get("subsets") or []:
        ports = tuple(
            sorted(
                (port.get("name") or "", port.get("protocol") or "TCP", port["port"], port.get("appProtocol") or "")
                for port in subset.get("ports") or []
            )
        )
        made = [_mirror(address, ready=True) for address in subset.get("addresses") or []]
        made += [_mirror(address, ready=False) for address in subset.get("notReadyAddresses") or []]
        if made:
            slices.append(SliceContent(ports, tuple(made)))
    return slices


def build_slice(service: Doc, content: SliceContent, name: str, *, mirrored: Doc | None = None) -> Obj:
    """The EndpointSlice object, without what the API server adds.  ``mirrored``: the Endpoints it is made from."""
    metadata = service["metadata"]
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in _RESERVED_LABELS}
    manager = SLICE_MANAGER if mirrored is None else MIRROR_MANAGER
    labels |= {SERVICE_NAME_LABEL: metadata["name"], MANAGED_BY_LABEL: manager}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [
                build_owner_reference(service, "v1", "Service")
                if mirrored is None
                else build_owner_reference(mirrored, "v1", "Endpoints")
            ],
        },
        "addressType": "IPv4",
        "endpoints": list(content.endpoints),
        "ports": [_port_object(port, with_empty_name=True) for port in content.ports],
    }


def build_endpoints(service: Doc, pods: Iterable[Doc]) -> Obj:
    """The service's Endpoints object, which older clients read."""
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), ENDPOINTS_MANAGED_BY_LABEL: ENDPOINTS_MANAGER}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    else:
        labels.pop(HEADLESS_LABEL, None)
    endpoints: Obj = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels},
    }
    if subsets := _build_subsets(service, pods):
        endpoints["subsets"] = subsets
    return endpoints


_RESERVED_LABELS = frozenset({SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL})


def _can_be_endpoint(pod: Doc) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and not is_terminal(pod)


def _by_address(pod: Doc) -> tuple[int, ...]:
    address = (pod.get("status") or {}).get("podIP") or "0"
    return tuple(int(part) for part in address.split(".") if part.isdigit())


def _publishes_not_ready(service: Doc) -> bool:
    return bool((service.get("spec") or {}).get("publishNotReadyAddresses"))


def _resolve_ports(service: Doc, pod: Doc) -> tuple[Port, ...]:
    ports = []
    for port in (service.get("spec") or {}).get("ports") or []:
        number = _find_port(pod, port)
        if number:
            ports.append((port.get("name") or "", port.get("protocol") or "TCP", number, port.get("appProtocol") or ""))
    return tuple(sorted(ports))


def _find_port(pod: Doc, service_port: Doc) -> int:
    """The pod's number for a service's targetPort; 0 when the pod has no port of that name."""
    target = service_port.get("targetPort", service_port["port"])
    if isinstance(target, int):
        return target or int(service_port["port"])
    spec = pod.get("spec") or {}
    # Only init containers that stay can be behind a service (KEP-753).
    sidecars = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or []), *sidecars]:
        for port in container.get("ports") or []:
            same_protocol = (port.get("protocol") or "TCP") == (service_port.get("protocol") or "TCP")
            if port.get("name") == target and same_protocol:
                return int(port["containerPort"])
    return 0


def _build_endpoint(service: Doc, pod: Doc) -> Obj:
    serving = is_ready(pod)
    terminating = pod["metadata"].get("deletionTimestamp") is not None
    spec = pod.get("spec") or {}
    endpoint: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": _publishes_not_ready(service) or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": _target_ref(pod),
    }
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if _has_own_name(service, pod):
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def _has_own_name(service: Doc, pod: Doc) -> bool:
    spec = pod.get("spec") or {}
    return bool(spec.get("hostname")) and spec.get("subdomain") == service["metadata"]["name"]


def _mirror(address: Doc, *, ready: bool) -> Obj:
    endpoint: Obj = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for field in ("hostname", "nodeName", "targetRef"):
        if field in address:
            endpoint[field] = address[field]
    return endpoint


def _target_ref(pod: Doc) -> Obj:
    metadata = pod["metadata"]
    return {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}


def _port_object(port: Port, *, with_empty_name: bool) -> Obj:
    name, protocol, number, app_protocol = port
    made: Obj = {"port": number, "protocol": protocol}
    if name or with_empty_name:
        made["name"] = name
    if app_protocol:
        made["appProtocol"] = app_protocol
    return made


def _build_subsets(service: Doc, pods: Iterable[Doc]) -> list[Obj]:
    publishes = _publishes_not_ready(service)
    groups: dict[tuple[Port, ...], tuple[list[Obj], list[Obj]]] = {}
    for pod in sorted(pods, key=_by_address):
        terminating = pod["metadata"].get("deletionTimestamp") is not None
        if not _can_be_endpoint(pod) or (terminating and not publishes):
            continue
        ports = _resolve_ports(service, pod)
        if not ports and not is_headless(service):
            continue
        ready, not_ready = groups.setdefault(ports, ([], []))
        (ready if publishes or is_ready(pod) else not_ready).append(_build_address(service, pod))
    subsets = []
    for ports, (ready, not_ready) in sorted(groups.items(), key=lambda group: group[0]):
        subset: Obj = {}
        if ready:
            subset["addresses"] = ready
        if not_ready:
            subset["notReadyAddresses"] = not_ready
        if ports:
            subset["ports"] = [_port_object(port, with_empty_name=False) for port in ports]
        subsets.append(subset)
    return subsets


def _build_address(service: Doc, pod: Doc) -> Obj:
    spec = pod.get("spec") or {}
    address: Obj = {"ip": pod["status"]["podIP"], "targetRef": _target_ref(pod)}
    if spec.get("nodeName"):
        address["nodeName"] = spec["nodeName"]
    if _has_own_name(service, pod):
        address["hostname"] = spec["hostname"]
    return address
