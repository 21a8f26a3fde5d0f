"""What the server can do, in the three forms that clients ask for.  Built once from the kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podhost.api.kind import Kind, Subresource

Obj = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def build_legacy_versions(server_addresses: Sequence[str]) -> Obj:
    """``/api``."""
    clients = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address} for address in server_addresses[:1]]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": clients}


def build_group_list(kinds: Iterable[Kind]) -> Obj:
    """``/apis``."""
    groups = [build_group(group, versions) for group, versions in group_versions(kinds).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def build_group(group: str, versions: Sequence[str]) -> Obj:
    """``/apis/<group>``."""
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": group,
        "versions": listed,
        "preferredVersion": listed[0],
    }


def build_resource_list(group: str, version: str, kinds: Iterable[Kind]) -> Obj:
    """``/api/v1`` or ``/apis/<group>/<version>``."""
    resources = []
    for kind in _served(kinds, group, version):
        resources.append(_resource(kind))
        resources.extend(_subresource(kind, sub) for sub in kind.subresources)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources,
    }


def build_aggregated(kinds: Iterable[Kind], *, core: bool) -> Obj:
    """``/api`` (core) or ``/apis`` as ``APIGroupDiscoveryList``: everything in one answer."""
    all_kinds = tuple(kinds)
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [_aggregated_version(all_kinds, group, version) for version in versions],
        }
        for group, versions in group_versions(all_kinds).items()
        if (group == "") == core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def group_versions(kinds: Iterable[Kind]) -> dict[str, list[str]]:
    """Versions by group, in the order of the kinds."""
    found: dict[str, list[str]] = {}
    for kind in kinds:
        versions = found.setdefault(kind.group, [])
        if kind.version not in versions:
            versions.append(kind.version)
    return found


def _served(kinds: Iterable[Kind], group: str, version: str) -> list[Kind]:
    found = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
    return sorted(found, key=lambda kind: kind.plural)


def _resource(kind: Kind) -> Obj:
    resource: Obj = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    return resource


def _subresource(kind: Kind, sub: Subresource) -> Obj:
    resource: Obj = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": sorted(sub.verbs),
    }
    if sub.version:
        resource |= {"group": sub.group, "version": sub.version}
    return resource


def _aggregated_version(kinds: Sequence[Kind], group: str, version: str) -> Obj:
    resources = [_aggregated_resource(kind) for kind in _served(kinds, group, version)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_resource(kind: Kind) -> Obj:
    resource: Obj = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if kind.subresources:
        resource["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.group or kind.group,
                    "version": sub.version or kind.version,
                    "kind": sub.kind,
                },
                "verbs": sorted(sub.verbs),
            }
            for sub in kind.subresources
        ]
    return resource
