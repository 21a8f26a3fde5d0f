"""From a manifest's apiVersion and kind to the path of its collection: a short table, then discovery."""

from __future__ import annotations

from dataclasses import dataclass

from podhost.cli.failure import HintedError
from podhost.cli.manifests import Manifest
from podhost.client import ApiClient, ApiStatusError, resource_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    api_version: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        return resource_path(self.api_version, self.plural, namespace=namespace if self.namespaced else "", name=name)


_CORE = {
    "Pod": ("pods", True),
    "Service": ("services", True),
    "ConfigMap": ("configmaps", True),
    "Secret": ("secrets", True),
    "ServiceAccount": ("serviceaccounts", True),
    "Endpoints": ("endpoints", True),
    "Namespace": ("namespaces", False),
}
_ORDER = (
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Service",
)
_SHORT = {"po": "pods", "svc": "services", "cm": "configmaps", "ns": "namespaces", "sa": "serviceaccounts"}


class Resources:
    """Looks resources up; what discovery says is kept."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._found = {
            ("v1", kind): Resource(api_version="v1", plural=plural, namespaced=namespaced)
            for kind, (plural, namespaced) in _CORE.items()
        }

    def of(self, manifest: Manifest) -> Resource:
        """Raises HintedError when the server does not know the kind."""
        key = (manifest.api_version, manifest.kind)
        if key not in self._found:
            self._discover(manifest.api_version)
        if key not in self._found:
            raise _no_match(manifest)
        return self._found[key]

    def _discover(self, api_version: str) -> None:
        root = "/api" if "/" not in api_version else "/apis"
        try:
            listed = self._client.get(f"{root}/{api_version}")
        except ApiStatusError as error:
            if error.code != 404:
                raise
            return
        for entry in listed.get("resources") or []:
            if "/" not in entry["name"]:
                self._found[api_version, entry["kind"]] = Resource(
                    api_version=api_version, plural=entry["name"], namespaced=bool(entry.get("namespaced"))
                )


def _no_match(manifest: Manifest) -> HintedError:
    from podhost.manifests.content import NO_WORKLOADS_HINT, WORKLOAD_KINDS

    text = f'cannot use {manifest.source}: no matches for kind "{manifest.kind}" in version "{manifest.api_version}"'
    group, _, version = manifest.api_version.rpartition("/")
    # Every cluster has these in v1: a server without them is a podhost.
    if version == "v1" and WORKLOAD_KINDS.get(manifest.kind) == group:
        return HintedError(text, f"podhost has no workload kinds: {NO_WORKLOADS_HINT}")
    return HintedError(text, "see what the server has: kubectl api-resources")


def find_resource(client: ApiClient, word: str) -> tuple[Resource, str] | None:
    """Resource and kind of ``deployment``, ``deploy``, ``deployments.apps`` … by any name that the server knows."""
    core = core_resource(word)
    if core is not None:
        kind = next(kind for kind, (plural, _) in _CORE.items() if plural == core.plural)
        return core, kind
    name, _, group = word.lower().partition(".")
    versions = ["v1"] if not group else []
    groups = [entry for entry in client.get("/apis").get("groups") or [] if group in ("", entry["name"])]
    versions += [str((entry.get("preferredVersion") or entry["versions"][0])["groupVersion"]) for entry in groups]
    for version in versions:
        listed = client.get(f"{'/api' if '/' not in version else '/apis'}/{version}")
        for found in listed.get("resources") or []:
            names = (found["name"], found.get("singularName"), found["kind"].lower(), *(found.get("shortNames") or ()))
            if "/" not in found["name"] and name in names:
                namespaced = bool(found.get("namespaced"))
                return Resource(api_version=version, plural=found["name"], namespaced=namespaced), str(found["kind"])
    return None


def core_resource(word: str) -> Resource | None:
    """``pod``, ``pods``, ``po``, ``Pod`` …: a core resource by any of its names."""
    lower = _SHORT.get(word.lower(), word.lower())
    for kind, (plural, namespaced) in _CORE.items():
        if lower in (kind.lower(), plural):
            return Resource(api_version="v1", plural=plural, namespaced=namespaced)
    return None


def order_of(manifest: Manifest) -> int:
    """What others refer to is created first; pods last but for kinds that nobody here knows."""
    return _ORDER.index(manifest.kind) if manifest.kind in _ORDER else len(_ORDER) + (manifest.kind == "Pod")
