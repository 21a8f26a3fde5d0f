"""Server-side tables: the columns and cells that ``kubectl get`` shows on a cluster."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from podhost.api.descriptions import load_descriptions
from podhost.api.objects import Object, section
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
    field: str = ""
    """The field that it shows, whose description is the column's: ``core.v1.PodStatus.podIP``."""


def table_columns(kind: Kind) -> list[Object]:
    """``columnDefinitions`` of a kind's Table.  Not to be changed."""
    return _build_definitions(kind.columns)


@functools.cache
def _build_definitions(columns: tuple[Column, ...]) -> list[Object]:
    texts = load_descriptions()

    def describe(column: Column) -> str:
        definition, _, field = column.field.rpartition(".")
        prefix = "io.k8s.apimachinery.pkg.apis." if definition.startswith("meta.") else "io.k8s.api."
        return texts.get(prefix + definition, {}).get(field, column.description)

    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": describe(column),
            "priority": column.priority,
        }
        for column in columns
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


NAME = Column("Name", format="name", field="meta.v1.ObjectMeta.name")
AGE = Column("Age", field="meta.v1.ObjectMeta.creationTimestamp")
CREATED_AT = Column("Created At", type="date", field=AGE.field)


def name_of(obj: Object) -> str:
    return str(section(obj, "metadata").get("name") or "")


def format_age_of(obj: Object, now: datetime) -> str:
    return format_age(section(obj, "metadata").get("creationTimestamp"), now)


def format_labels(labels: Mapping[str, str] | None) -> str:
    """``a=b,c=d`` in the order of the keys."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


DEFAULT_COLUMNS = (NAME, CREATED_AT)


def default_row(obj: Object, _now: datetime) -> list[Any]:
    """For kinds without columns of their own; kubectl turns the date into an age."""
    return [name_of(obj), section(obj, "metadata").get("creationTimestamp")]


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
    Column("IP", field="core.v1.PodStatus.podIP", priority=1),
    Column("Node", field="core.v1.PodSpec.nodeName", priority=1),
    Column("Nominated Node", field="core.v1.PodStatus.nominatedNodeName", priority=1),
    Column("Readiness Gates", field="core.v1.PodSpec.readinessGates", priority=1),
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
    Column("Type", field="core.v1.ServiceSpec.type"),
    Column("Cluster-IP", field="core.v1.ServiceSpec.clusterIP"),
    Column("External-IP", field="core.v1.ServiceSpec.externalIPs"),
    Column("Port(s)", field="core.v1.ServiceSpec.ports"),
    AGE,
    Column("Selector", field="core.v1.ServiceSpec.selector", priority=1),
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


CONFIG_MAP_COLUMNS = (NAME, Column("Data", field="core.v1.ConfigMap.data"), AGE)


def config_map_row(config_map: Object, now: datetime) -> list[Any]:
    count = len(config_map.get("data") or {}) + len(config_map.get("binaryData") or {})
    return [name_of(config_map), count, format_age_of(config_map, now)]


SECRET_COLUMNS = (NAME, Column("Type", field="core.v1.Secret.type"), Column("Data", field="core.v1.Secret.data"), AGE)


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
    Column("Version", field="core.v1.NodeSystemInfo.kubeletVersion"),
    Column("Internal-IP", field="core.v1.NodeStatus.addresses", priority=1),
    Column("External-IP", field="core.v1.NodeStatus.addresses", priority=1),
    Column("OS-Image", field="core.v1.NodeSystemInfo.osImage", priority=1),
    Column("Kernel-Version", field="core.v1.NodeSystemInfo.kernelVersion", priority=1),
    Column("Container-Runtime", field="core.v1.NodeSystemInfo.containerRuntimeVersion", priority=1),
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
        _node_roles(section(node, "metadata").get("labels") or {}),
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


ENDPOINTS_COLUMNS = (NAME, Column("Endpoints", field="core.v1.Endpoints.subsets"), AGE)


def endpoints_row(endpoints: Object, now: datetime) -> list[Any]:
    subsets = endpoints.get("subsets") or ()
    shown = _shortened(list(_endpoint_addresses(subsets)), "") if subsets else "<none>"
    return [name_of(endpoints), shown, format_age_of(endpoints, now)]


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
    Column("AddressType", field="discovery.v1.EndpointSlice.addressType"),
    Column("Ports", field="discovery.v1.EndpointSlice.ports"),
    Column("Endpoints", field="discovery.v1.EndpointSlice.endpoints"),
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
    Column("Last Seen", field="core.v1.Event.lastTimestamp"),
    Column("Type", field="core.v1.Event.type"),
    Column("Reason", field="core.v1.Event.reason"),
    Column("Object", field="core.v1.Event.involvedObject"),
    Column("Subobject", field="core.v1.ObjectReference.fieldPath", priority=1),
    Column("Source", field="core.v1.Event.source", priority=1),
    Column("Message", field="core.v1.Event.message"),
    Column("First Seen", field="core.v1.Event.firstTimestamp", priority=1),
    Column("Count", field="core.v1.Event.count", priority=1),
    Column("Name", format="name", field=NAME.field, priority=1),
)


def event_times(event: Mapping[str, Any]) -> tuple[str, str]:
    """First and last occurrence."""
    first = event.get("firstTimestamp") or event.get("eventTime") or ""
    if event.get("series") is not None:
        return first, event["series"].get("lastObservedTime") or ""
    return first, event.get("lastTimestamp") or first


def event_row(event: Object, now: datetime) -> list[Any]:
    involved, source = event.get("involvedObject") or {}, event.get("source") or {}
    first, last = event_times(event)
    series = event.get("series")
    count = event.get("count") or 1 if series is None else series.get("count") or 0
    target = (involved.get("kind") or "").lower()
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        format_age(last, now),
        event.get("type") or "",
        event.get("reason") or "",
        f"{target}/{involved['name']}" if involved.get("name") else target,
        involved.get("fieldPath") or "",
        f"{component}, {host}" if host else component,
        (event.get("message") or "").strip(),
        format_age(first, now),
        count,
        name_of(event),
    ]


SERVICE_ACCOUNT_COLUMNS = (NAME, Column("Secrets", field="core.v1.ServiceAccount.secrets"), AGE)


def service_account_row(account: Object, now: datetime) -> list[Any]:
    return [name_of(account), len(account.get("secrets") or ()), format_age_of(account, now)]


RUNTIME_CLASS_COLUMNS = (NAME, Column("Handler"), AGE)


def runtime_class_row(runtime_class: Object, now: datetime) -> list[Any]:
    return [name_of(runtime_class), runtime_class.get("handler") or "", format_age_of(runtime_class, now)]


LEASE_COLUMNS = (NAME, Column("Holder", field="coordination.v1.LeaseSpec.holderIdentity"), AGE)


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
