"""Server-side tables: the columns and cells that ``kubectl get`` shows on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from podhost.api.objects import Object
from podhost.api.pod_summary import summarize_pod
from podhost.api.time import format_age

if TYPE_CHECKING:
    from podhost.api.kind import Kind

_LIST_MAX = 3
_ROLE_PREFIX = "node-role.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Column:
    """A ``TableColumnDefinition``; priority 1 is shown only by ``-o wide``."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


def table_columns(kind: Kind) -> list[Object]:
    """``columnDefinitions`` of a kind's Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in kind.columns
    ]


def table_row(kind: Kind, obj: Object, now: datetime) -> Object:
    """A ``TableRow`` without its ``object``, which depends on what the client asked to be included."""
    row: Object = {"cells": kind.row(obj, now)}
    if kind.kind == "Pod":
        row |= _completed_condition(obj)
    return row


def _completed_condition(pod: Object) -> Object:
    phase = (pod.get("status") or {}).get("phase")
    if phase == "Succeeded":
        message = "The pod has completed successfully."
    elif phase == "Failed":
        message = "The pod failed."
    else:
        return {}
    return {"conditions": [{"type": "Completed", "status": "True", "reason": phase, "message": message}]}


NAME = Column("Name", format="name", description="Name must be unique within a namespace. Cannot be updated.")
AGE = Column(
    "Age", description="CreationTimestamp is a timestamp representing the server time when this object was created."
)


def _meta(obj: Object) -> Mapping[str, Any]:
    meta: Mapping[str, Any] = obj.get("metadata") or {}
    return meta


def name_of(obj: Object) -> str:
    return str(_meta(obj).get("name") or "")


def format_age_of(obj: Object, now: datetime) -> str:
    return format_age(_meta(obj).get("creationTimestamp"), now)


def format_labels(labels: Mapping[str, str] | None) -> str:
    """``a=b,c=d`` in the order of the keys."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


DEFAULT_COLUMNS = (NAME, Column("Created At", type="date", description=AGE.description))


def default_row(obj: Object, _now: datetime) -> list[Any]:
    """For kinds without columns of their own; kubectl turns the date into an age."""
    return [name_of(obj), _meta(obj).get("creationTimestamp")]


POD_COLUMNS = (
    NAME,
    Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
    Column("Status", description="The aggregate status of the containers in this pod."),
    Column(
        "Restarts",
        description="The number of times the containers in this pod have been restarted and when the last container "
        "in this pod has restarted.",
    ),
    AGE,
    Column("IP", description="podIP address allocated to the pod.", priority=1),
    Column("Node", description="The node that this pod is bound to.", priority=1),
    Column("Nominated Node", description="The node that this pod is nominated for.", priority=1),
    Column("Readiness Gates", description="Readiness gates that are satisfied, and all of them.", priority=1),
)


def pod_row(pod: Object, now: datetime) -> list[Any]:
    summary = summarize_pod(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{restarts} ({format_age(summary.last_restart, now)} ago)"
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    addresses = status.get("podIPs") or ()
    address = addresses[0].get("ip") if addresses else status.get("podIP")
    return [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.status,
        restarts,
        format_age_of(pod, now),
        address or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        _readiness_gates(spec, status),
    ]


def _readiness_gates(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or ()]
    if not gates:
        return "<none>"
    states = {condition.get("type"): condition.get("status") for condition in status.get("conditions") or ()}
    return f"{sum(states.get(gate) == 'True' for gate in gates)}/{len(gates)}"


SERVICE_COLUMNS = (
    NAME,
    Column("Type", description="type determines how the Service is exposed."),
    Column("Cluster-IP", description="clusterIP is the IP address of the service."),
    Column("External-IP", description="externalIPs for which nodes in the cluster will also accept traffic."),
    Column("Port(s)", description="The list of ports that are exposed by this service."),
    AGE,
    Column("Selector", description="Route service traffic to pods with these labels.", priority=1),
)


def service_row(service: Object, now: datetime) -> list[Any]:
    spec = service.get("spec") or {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [
        name_of(service),
        spec.get("type") or "",
        addresses[0] or "<none>",
        _external_ip(service, spec),
        ",".join(map(_service_port, spec.get("ports") or ())) or "<none>",
        format_age_of(service, now),
        format_labels(spec.get("selector")),
    ]


def _external_ip(service: Object, spec: Mapping[str, Any]) -> str:
    external = ",".join(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or ""
    if kind == "LoadBalancer":
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        found = ",".join(sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""}))
        return ",".join(filter(None, (found, external))) or "<pending>"
    return external or "<none>"


def _service_port(port: Mapping[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol') or 'TCP'}"


CONFIG_MAP_COLUMNS = (NAME, Column("Data", description="Number of keys."), AGE)


def config_map_row(config_map: Object, now: datetime) -> list[Any]:
    count = len(config_map.get("data") or {}) + len(config_map.get("binaryData") or {})
    return [name_of(config_map), count, format_age_of(config_map, now)]


SECRET_COLUMNS = (
    NAME,
    Column("Type", description="Used to facilitate programmatic handling of secret data."),
    Column("Data", description="Number of keys."),
    AGE,
)


def secret_row(secret: Object, now: datetime) -> list[Any]:
    return [name_of(secret), secret.get("type") or "", len(secret.get("data") or {}), format_age_of(secret, now)]


NAMESPACE_COLUMNS = (NAME, Column("Status", description="The status of the namespace"), AGE)


def namespace_row(namespace: Object, now: datetime) -> list[Any]:
    return [name_of(namespace), (namespace.get("status") or {}).get("phase") or "", format_age_of(namespace, now)]


NODE_COLUMNS = (
    NAME,
    Column("Status", description="The status of the node"),
    Column("Roles", description="The roles of the node"),
    AGE,
    Column("Version", description="Kubelet Version reported by the node."),
    Column("Internal-IP", description="Address reachable within the cluster.", priority=1),
    Column("External-IP", description="Address reachable from outside.", priority=1),
    Column("OS-Image", description="OS Image reported by the node.", priority=1),
    Column("Kernel-Version", description="Kernel Version reported by the node.", priority=1),
    Column("Container-Runtime", description="ContainerRuntime Version reported by the node.", priority=1),
)


def node_row(node: Object, now: datetime) -> list[Any]:
    status = node.get("status") or {}
    info = status.get("nodeInfo") or {}
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or ():
        addresses.setdefault(address.get("type") or "", address.get("address") or "")
    return [
        name_of(node),
        _node_status(node, status),
        _node_roles(_meta(node).get("labels") or {}),
        format_age_of(node, now),
        info.get("kubeletVersion") or "",
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _node_status(node: Object, status: Mapping[str, Any]) -> str:
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    words = ["Unknown"] if ready is None else ["Ready" if ready.get("status") == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(labels: Mapping[str, str]) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get("kubernetes.io/role") or "")
    return ",".join(sorted(roles - {""})) or "<none>"


ENDPOINTS_COLUMNS = (
    NAME,
    Column("Endpoints", description="The set of all endpoints is the union of all subsets."),
    AGE,
)


def endpoints_row(endpoints: Object, now: datetime) -> list[Any]:
    found = list(_endpoint_addresses(endpoints.get("subsets") or ()))
    return [name_of(endpoints), _shortened(found, "<none>"), format_age_of(endpoints, now)]


def _endpoint_addresses(subsets: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for subset in subsets:
        addresses = [address.get("ip") or "" for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            yield from addresses
        for port in ports:
            for address in addresses:
                host = f"[{address}]" if ":" in address else address
                yield f"{host}:{port.get('port', 0)}"


def _shortened(items: list[str], empty: str) -> str:
    """The first three, and how many more there are."""
    shown = ",".join(items[:_LIST_MAX])
    if len(items) > _LIST_MAX:
        return f"{shown} + {len(items) - _LIST_MAX} more..."
    return shown or empty


ENDPOINT_SLICE_COLUMNS = (
    NAME,
    Column("AddressType", description="The type of address carried by this EndpointSlice."),
    Column("Ports", description="The list of network ports exposed by each endpoint in this slice."),
    Column("Endpoints", description="The list of unique endpoints in this slice."),
    AGE,
)


def endpoint_slice_row(endpoint_slice: Object, now: datetime) -> list[Any]:
    ports = [
        str(port["port"]) if port.get("port") is not None else port.get("name") or "*"
        for port in endpoint_slice.get("ports") or ()
    ]
    addresses = [
        address for endpoint in endpoint_slice.get("endpoints") or () for address in endpoint.get("addresses") or ()
    ]
    return [
        name_of(endpoint_slice),
        endpoint_slice.get("addressType") or "",
        _shortened(ports, "<unset>"),
        _shortened(addresses, "<unset>"),
        format_age_of(endpoint_slice, now),
    ]


EVENT_COLUMNS = (
    Column("Last Seen", description="The time at which the most recent occurrence of this event was recorded."),
    Column("Type", description="Type of this event (Normal, Warning), new types could be added in the future"),
    Column("Reason", description="The reason for the transition into the object's current status."),
    Column("Object", description="The object that this event is about."),
    Column("Subobject", description="The part of the object that this event is about.", priority=1),
    Column("Source", description="The component reporting this event.", priority=1),
    Column("Message", description="A human-readable description of the status of this operation."),
    Column("First Seen", description="The time at which the event was first recorded.", priority=1),
    Column("Count", description="The number of times this event has occurred.", priority=1),
    Column("Name", format="name", description=NAME.description, priority=1),
)


def event_times(event: Mapping[str, Any]) -> tuple[str, str]:
    """First and last occurrence."""
    first = event.get("firstTimestamp") or event.get("eventTime") or ""
    series = (event.get("series") or {}).get("lastObservedTime")
    return first, series or event.get("lastTimestamp") or first


def event_order(event: Object) -> str:
    """Tables of events are in the order of their last occurrence."""
    return event_times(event)[1]


def event_row(event: Object, now: datetime) -> list[Any]:
    involved, source = event.get("involvedObject") or {}, event.get("source") or {}
    first, last = event_times(event)
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        format_age(last, now),
        event.get("type") or "",
        event.get("reason") or "",
        f"{(involved.get('kind') or '').lower()}/{involved.get('name') or ''}",
        involved.get("fieldPath") or "",
        f"{component}, {host}" if host else component,
        (event.get("message") or "").strip(),
        format_age(first, now),
        count,
        name_of(event),
    ]


SERVICE_ACCOUNT_COLUMNS = (NAME, Column("Secrets", description="Number of secrets of this ServiceAccount."), AGE)


def service_account_row(account: Object, now: datetime) -> list[Any]:
    return [name_of(account), len(account.get("secrets") or ()), format_age_of(account, now)]


RUNTIME_CLASS_COLUMNS = (
    NAME,
    Column("Handler", description="handler specifies the underlying runtime and configuration that the CRI "
           "implementation will use to handle pods of this class. The possible values are specific to the node & CRI "
           "configuration."),
    AGE,
)  # fmt: skip


def runtime_class_row(runtime_class: Object, now: datetime) -> list[Any]:
    return [name_of(runtime_class), runtime_class.get("handler") or "", format_age_of(runtime_class, now)]


LEASE_COLUMNS = (NAME, Column("Holder", description="The identity of the holder of the lease."), AGE)


def lease_row(lease: Object, now: datetime) -> list[Any]:
    return [name_of(lease), (lease.get("spec") or {}).get("holderIdentity") or "", format_age_of(lease, now)]


POD_TEMPLATE_COLUMNS = (
    NAME,
    Column("Containers", description="Names of each container in the template."),
    Column("Images", description="Images referenced by each container in the template."),
    Column("Pod Labels", description="The labels for the pod template."),
)


def pod_template_row(obj: Object, _now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    labels = (template.get("metadata") or {}).get("labels") or {}
    return [
        name_of(obj),
        ",".join(container.get("name") or "" for container in containers),
        ",".join(container.get("image") or "" for container in containers),
        ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>",
    ]
