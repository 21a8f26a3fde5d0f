"""The official API definitions, read from the PyPI package ``kubernetes-validate``."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

VERSION = "v1.37.0"

ROOTS = (
    "io.k8s.api.core.v1.Pod",
    "io.k8s.api.core.v1.PodTemplate",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Secret",
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.Node",
    "io.k8s.api.core.v1.Endpoints",
    "io.k8s.api.core.v1.Event",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.core.v1.Binding",
    "io.k8s.api.core.v1.PersistentVolume",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.storage.v1.StorageClass",
    "io.k8s.api.discovery.v1.EndpointSlice",
    "io.k8s.api.events.v1.Event",
    "io.k8s.api.coordination.v1.Lease",
    "io.k8s.api.node.v1.RuntimeClass",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
    "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
)
"""Definitions of which the engine reads typed views; everything they refer to comes along."""

DOCUMENTS_ONLY = (
    "io.k8s.api.rbac.v1.Role",
    "io.k8s.api.rbac.v1.RoleBinding",
    "io.k8s.api.rbac.v1.ClusterRole",
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.api.authentication.v1.TokenReview",
    "io.k8s.api.authentication.v1.SelfSubjectReview",
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    "io.k8s.api.scheduling.v1.PriorityClass",
    "io.k8s.api.policy.v1.Eviction",
)
"""Definitions that only the API server knows, as documents: no models, facts alone."""

SCALARS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
}
"""Definitions that are one JSON value, and the word the facts table uses for them."""

Definition = dict[str, Any]


def load_definitions() -> dict[str, Definition]:
    """All definitions of the version, by full name."""
    path = files("kubernetes_validate") / f"kubernetes-json-schema/{VERSION}-local/_definitions.json"
    definitions: dict[str, Definition] = json.loads(path.read_text())["$defs"]
    return definitions


def reference(schema: Definition) -> str | None:
    """Full name of the definition that a schema refers to."""
    ref: str | None = schema.get("$ref")
    return ref.rpartition("/")[2] if ref else None


def references(definition: Definition) -> list[str]:
    """Names of all definitions that the fields of one refer to directly."""
    found = []
    for schema in definition.get("properties", {}).values():
        for part in (schema, schema.get("items", {}), schema.get("additionalProperties", {})):
            name = reference(part) if isinstance(part, dict) else None
            if name is not None:
                found.append(name)
    return found


def reachable(definitions: dict[str, Definition], roots: tuple[str, ...] = ROOTS) -> list[str]:
    """Names of structures reachable from the roots, dependencies first where that is possible."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name in SCALARS:
            return
        seen.add(name)
        for child in references(definitions[name]):
            visit(child)
        order.append(name)

    for root in roots:
        visit(root)
    return order


def json_type(schema: Definition) -> str:
    """The JSON type of a schema, without ``null``."""
    kinds = schema.get("type", "object")
    if isinstance(kinds, str):
        return kinds
    return next(str(kind) for kind in kinds if kind != "null")
