"""The registry: every kind that the API serves is a declaration here, not a handler.

Adding a kind means adding a ``Kind`` to ``KINDS`` (and its definition to the generator's roots).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api import columns as tables
from podhost.api import defaulting, names, selectors, strategies
from podhost.api import warnings as messages
from podhost.api.access_kinds import ACCESS_KINDS
from podhost.api.events import EVENT, EVENT_V1
from podhost.api.kind import ALL_VERBS, PROXY_VERBS, STATUS_VERBS, Kind, Subresource, status_subresource
from podhost.api.priority_classes import PRIORITY_CLASS
from podhost.api.profile_annotations import apparmor_annotation_warnings
from podhost.api.storage_kinds import STORAGE_KINDS
from podhost.api.validation import core, discovery, nodes, pods, runtime_classes, services

_CORE = "io.k8s.api.core.v1."

POD = Kind(
    kind="Pod",
    version="v1",
    plural="pods",
    singular="pod",
    schema=_CORE + "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        Subresource(name="attach", kind="PodAttachOptions", verbs=("create", "get")),
        Subresource(name="binding", kind="Binding", verbs=("create",)),
        Subresource(name="ephemeralcontainers", kind="Pod", verbs=STATUS_VERBS),
        Subresource(name="eviction", kind="Eviction", verbs=("create",), group="policy", version="v1"),
        Subresource(name="exec", kind="PodExecOptions", verbs=("create", "get")),
        Subresource(name="log", kind="Pod", verbs=("get",)),
        Subresource(name="portforward", kind="PodPortForwardOptions", verbs=("create", "get")),
        Subresource(name="proxy", kind="PodProxyOptions", verbs=PROXY_VERBS),
        Subresource(name="resize", kind="Pod", verbs=STATUS_VERBS),
        status_subresource("Pod"),
    ),
    default=defaulting.default_pod,
    prepare_create=strategies.prepare_pod_create,
    prepare_update=strategies.prepare_pod_update,
    prepare_status_update=strategies.prepare_pod_status_update,
    validate_create=pods.validate_pod,
    validate_update=pods.validate_pod_update,
    validate_status_update=pods.validate_pod_status_update,
    columns=tables.POD_COLUMNS,
    row=tables.pod_row,
    selectable_fields=selectors.pod_fields,
    warnings=messages.pod_warnings,
    warnings_as_written=apparmor_annotation_warnings,
    host_warnings=messages.pod_host_warnings,
    returns_deleted=True,
)
POD_TEMPLATE = Kind(
    kind="PodTemplate",
    version="v1",
    plural="podtemplates",
    singular="podtemplate",
    schema=_CORE + "PodTemplate",
    default=defaulting.default_pod_template,
    prepare_create=strategies.start_generation,
    prepare_update=strategies.count_generation_of_content,
    validate_create=pods.validate_pod_template,
    validate_update=pods.validate_pod_template_update,
    columns=tables.POD_TEMPLATE_COLUMNS,
    row=tables.pod_template_row,
)
SERVICE = Kind(
    kind="Service",
    version="v1",
    plural="services",
    singular="service",
    schema=_CORE + "Service",
    short_names=("svc",),
    categories=("all",),
    subresources=(
        Subresource(name="proxy", kind="ServiceProxyOptions", verbs=PROXY_VERBS),
        status_subresource("Service"),
    ),
    check_name=names.check_dns1035_label,
    default=defaulting.default_service,
    prepare_create=strategies.prepare_service_create,
    prepare_update=strategies.prepare_service_update,
    validate_create=services.validate_service,
    validate_update=services.validate_service_update,
    columns=tables.SERVICE_COLUMNS,
    row=tables.service_row,
    selectable_fields=selectors.service_fields,
    warnings=messages.service_warnings,
    create_on_update=True,
    returns_deleted=True,
)
CONFIG_MAP = Kind(
    kind="ConfigMap",
    version="v1",
    plural="configmaps",
    singular="configmap",
    schema=_CORE + "ConfigMap",
    short_names=("cm",),
    validate_create=core.validate_config_map,
    validate_update=core.validate_config_map_update,
    columns=tables.CONFIG_MAP_COLUMNS,
    row=tables.config_map_row,
)
SECRET = Kind(
    kind="Secret",
    version="v1",
    plural="secrets",
    singular="secret",
    schema=_CORE + "Secret",
    default=defaulting.default_secret,
    prepare_create=strategies.merge_string_data,
    prepare_update=strategies.prepare_secret_update,
    validate_create=core.validate_secret,
    validate_update=core.validate_secret_update,
    columns=tables.SECRET_COLUMNS,
    row=tables.secret_row,
    selectable_fields=selectors.secret_fields,
)
NAMESPACE = Kind(
    kind="Namespace",
    version="v1",
    plural="namespaces",
    singular="namespace",
    schema=_CORE + "Namespace",
    short_names=("ns",),
    namespaced=False,
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    subresources=(Subresource(name="finalize", kind="Namespace", verbs=("update",)), status_subresource("Namespace")),
    check_name=names.check_dns_label,
    default=defaulting.default_namespace,
    prepare_create=strategies.prepare_namespace_create,
    prepare_update=strategies.prepare_namespace_update,
    validate_create=core.validate_namespace,
    validate_status_update=core.validate_namespace_status_update,
    columns=tables.NAMESPACE_COLUMNS,
    row=tables.namespace_row,
    selectable_fields=selectors.namespace_fields,
)
NODE = Kind(
    kind="Node",
    version="v1",
    plural="nodes",
    singular="node",
    schema=_CORE + "Node",
    short_names=("no",),
    namespaced=False,
    subresources=(
        Subresource(name="proxy", kind="NodeProxyOptions", verbs=PROXY_VERBS),
        status_subresource("Node"),
    ),
    prepare_update=strategies.keep_status,
    validate_create=nodes.validate_node,
    validate_update=nodes.validate_node_update,
    columns=tables.NODE_COLUMNS,
    row=tables.node_row,
    selectable_fields=selectors.node_fields,
    beats=True,
)
ENDPOINTS = Kind(
    kind="Endpoints",
    version="v1",
    plural="endpoints",
    singular="endpoints",
    schema=_CORE + "Endpoints",
    short_names=("ep",),
    default=defaulting.default_endpoints,
    validate_create=discovery.validate_endpoints,
    validate_update=discovery.validate_endpoints_update,
    columns=tables.ENDPOINTS_COLUMNS,
    row=tables.endpoints_row,
    warnings=messages.endpoints_warnings,
    create_on_update=True,
)
ENDPOINT_SLICE = Kind(
    kind="EndpointSlice",
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    singular="endpointslice",
    schema="io.k8s.api.discovery.v1.EndpointSlice",
    default=defaulting.default_endpoint_slice,
    prepare_create=strategies.start_generation,
    prepare_update=strategies.count_generation_of_content,
    validate_create=discovery.validate_endpoint_slice,
    validate_update=discovery.validate_endpoint_slice_update,
    columns=tables.ENDPOINT_SLICE_COLUMNS,
    row=tables.endpoint_slice_row,
)
SERVICE_ACCOUNT = Kind(
    kind="ServiceAccount",
    version="v1",
    plural="serviceaccounts",
    singular="serviceaccount",
    schema=_CORE + "ServiceAccount",
    short_names=("sa",),
    subresources=(
        Subresource(name="token", kind="TokenRequest", verbs=("create",), group="authentication.k8s.io", version="v1"),
    ),
    columns=tables.SERVICE_ACCOUNT_COLUMNS,
    row=tables.service_account_row,
    returns_deleted=True,
)
RUNTIME_CLASS = Kind(
    kind="RuntimeClass",
    group="node.k8s.io",
    version="v1",
    plural="runtimeclasses",
    singular="runtimeclass",
    schema="io.k8s.api.node.v1.RuntimeClass",
    namespaced=False,
    validate_create=runtime_classes.validate_runtime_class,
    validate_update=runtime_classes.validate_runtime_class_update,
    columns=tables.RUNTIME_CLASS_COLUMNS,
    row=tables.runtime_class_row,
)
LEASE = Kind(
    kind="Lease",
    group="coordination.k8s.io",
    version="v1",
    plural="leases",
    singular="lease",
    schema="io.k8s.api.coordination.v1.Lease",
    validate_create=core.validate_lease,
    validate_update=core.validate_lease_update,
    columns=tables.LEASE_COLUMNS,
    row=tables.lease_row,
    unconditional_update=False,
    create_on_update=True,
    beats=True,
)

KINDS: tuple[Kind, ...] = (
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    NAMESPACE,
    NODE,
    ENDPOINTS,
    ENDPOINT_SLICE,
    EVENT,
    EVENT_V1,
    SERVICE_ACCOUNT,
    LEASE,
    RUNTIME_CLASS,
    *STORAGE_KINDS,
    POD_TEMPLATE,
    PRIORITY_CLASS,
    *ACCESS_KINDS,
)

STORED_KINDS = tuple(kind for kind in KINDS if kind.stored_form is None)
"""Those that are no view of another one."""

_BY_RESOURCE = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
_BY_GVK = {(kind.group, kind.version, kind.kind): kind for kind in KINDS}
_BY_KEY = {kind.resource_key: kind for kind in KINDS}


def kind_by_resource(group: str, version: str, plural: str) -> Kind | None:
    """The kind of an URL path."""
    return _BY_RESOURCE.get((group, version, plural))


def kind_by_gvk(group: str, version: str, kind: str) -> Kind | None:
    return _BY_GVK.get((group, version, kind))


def kind_of(obj: Mapping[str, Any]) -> Kind | None:
    """The kind of an object, by its ``apiVersion`` and ``kind``."""
    api_version = str(obj.get("apiVersion") or "")
    group, _, version = api_version.rpartition("/")
    return _BY_GVK.get((group, version, str(obj.get("kind") or "")))


def kind_by_resource_key(resource_key: str) -> Kind | None:
    """The kind of a resource in the store."""
    return _BY_KEY.get(resource_key)
