"""The roles and bindings that every cluster has (``rbac/bootstrappolicy``), as data.

Left out are the roles of Kubernetes' own controllers and of certificate signers: podhost has neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from podhost.api.rbac import GROUP

Obj = dict[str, Any]

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = f"{_READ} {_WRITE}"
_EVENTS = ("create patch update", "/events.k8s.io", "events")
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

_WORKLOADS = "daemonsets deployments replicasets statefulsets"
_SCALABLE = "deployments/scale replicasets/scale statefulsets/scale"

_RuleRow = tuple[str, str, str] | tuple[str, str, str, str]
"""verbs, API groups (separated by ``/``, as the core group is empty), resources, perhaps resource names."""

_VIEW: tuple[_RuleRow, ...] = (
    (
        _READ,
        "",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    (
        _READ,
        "",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    (_READ, "", "namespaces"),
    (_READ, "discovery.k8s.io", "endpointslices"),
    (
        _READ,
        "apps",
        f"controllerrevisions {_WORKLOADS} {_SCALABLE} daemonsets/status deployments/status replicasets/status "
        "statefulsets/status",
    ),
    (_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    (_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    (_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    (_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
)
_EDIT: tuple[_RuleRow, ...] = (
    (_READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    ("impersonate", "", "serviceaccounts"),
    (_WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    ("create", "", "pods/eviction"),
    (
        _WRITE,
        "",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    ("create", "", "serviceaccounts/token"),
    (_WRITE, "apps", f"{_WORKLOADS} {_SCALABLE} deployments/rollback"),
    (_WRITE, "autoscaling", "horizontalpodautoscalers"),
    (_WRITE, "batch", "cronjobs jobs"),
    (_WRITE, "policy", "poddisruptionbudgets"),
    (_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    (_ALL, "coordination.k8s.io", "leases"),
)
_ADMIN: tuple[_RuleRow, ...] = (
    ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    (_ALL, GROUP, "rolebindings roles"),
)
_METRICS: tuple[_RuleRow, ...] = ((_READ, "metrics.k8s.io", "nodes pods"),)
_OBSERVED: tuple[_RuleRow, ...] = ((_READ, "podhost.dev", "podchannels podstats"),)

_RESOURCE_ROLES: dict[str, tuple[_RuleRow, ...]] = {
    "cluster-admin": (("*", "*", "*"),),
    "system:aggregate-to-admin": _ADMIN,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-view": _VIEW,
    "system:aggregated-metrics-reader": _METRICS,
    "podhost:aggregate-to-view": _OBSERVED,
    "system:auth-delegator": (
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:basic-user": (
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:kube-dns": (("list watch", "", "endpoints services"),),
    "system:kubelet-api-admin": (
        (_READ, "", "nodes"),
        ("proxy", "", "nodes"),
        ("*", "", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ),
    "system:node-problem-detector": (("get", "", "nodes"), ("patch", "", "nodes/status"), _EVENTS),
    "system:node-proxier": (
        ("list watch", "", "endpoints services"),
        (_READ, "", "nodes"),
        _EVENTS,
        ("list watch", "discovery.k8s.io", "endpointslices"),
    ),
    "system:persistent-volume-provisioner": (
        ("create delete get list watch", "", "persistentvolumes"),
        ("get list update watch", "", "persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("watch", "", "events"),
        _EVENTS,
    ),
    "system:volume-scheduler": (
        ("get list patch update watch", "", "persistentvolumes"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("get list patch update watch", "", "persistentvolumeclaims"),
    ),
}
_URL_ROLES = {
    "cluster-admin": ("*", "*"),
    "system:discovery": (
        "get",
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    ),
    "system:monitoring": (
        "get",
        "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
    ),
    "system:public-info-viewer": ("get", "/healthz /livez /readyz /version /version/"),
    "system:service-account-issuer-discovery": ("get", "/.well-known/openid-configuration /openid/v1/jwks"),
}
_AGGREGATED = {"admin": "admin", "edit": "edit", "view": "view"}
_CONTRIBUTES = {
    "edit": ("admin",),
    "view": ("edit",),
    "system:aggregate-to-admin": ("admin",),
    "system:aggregate-to-edit": ("edit",),
    "system:aggregate-to-view": ("view",),
    "system:aggregated-metrics-reader": ("admin", "edit", "view"),
    "podhost:aggregate-to-view": ("view",),
}
_BINDINGS = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:monitoring": ("system:monitoring",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:service-account-issuer-discovery": ("system:serviceaccounts",),
}
"""Cluster role → groups."""


def build_default_cluster_roles() -> Iterator[Obj]:
    """ClusterRoles in the order of their names."""
    for name in sorted({*_RESOURCE_ROLES, *_URL_ROLES, *_AGGREGATED}):
        role = _build_object("ClusterRole", name)
        labels = {f"{_AGGREGATE}{target}": "true" for target in _CONTRIBUTES.get(name, ())}
        role["metadata"]["labels"] |= labels
        if name in _AGGREGATED:
            selector = {"matchLabels": {f"{_AGGREGATE}{_AGGREGATED[name]}": "true"}}
            role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        role["rules"] = [_build_rule(row) for row in _RESOURCE_ROLES.get(name, ())]
        if name in _URL_ROLES:
            verbs, urls = _URL_ROLES[name]
            role["rules"].append({"nonResourceURLs": urls.split(), "verbs": verbs.split()})
        yield role


def build_default_cluster_role_bindings() -> Iterator[Obj]:
    """ClusterRoleBindings, each of the role of the same name."""
    for name, groups in sorted(_BINDINGS.items()):
        binding = _build_object("ClusterRoleBinding", name)
        binding["roleRef"] = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        binding["subjects"] = [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups]
        yield binding


def _build_object(kind: str, name: str) -> Obj:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        },
    }


def _build_rule(row: _RuleRow) -> Obj:
    verbs, groups, resources, *names = row
    rule: Obj = {"apiGroups": groups.split("/"), "resources": resources.split(), "verbs": verbs.split()}
    return rule | ({"resourceNames": names[0].split()} if names else {})
