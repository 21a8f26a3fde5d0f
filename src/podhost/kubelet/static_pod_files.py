"""A static pod out of its file.  Pure: text in, a pod or what is wrong with it out.

What the kubelet adds is as in kubernetes 1.37 pkg/kubelet/config/common.go: the node's name behind the pod's, a uid
that is a hash of file and content, the annotations ``kubernetes.io/config.*``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from podhost.api import kinds
from podhost.api.kind import validate
from podhost.api.objects import all_containers
from podhost.api.structure import check_structure

Document = dict[str, Any]

HASH_ANNOTATION = "kubernetes.io/config.hash"
SEEN_ANNOTATION = "kubernetes.io/config.seen"
SOURCE_ANNOTATION = "kubernetes.io/config.source"
MAX_BYTES = 1 << 20
"""Of a file that is looked into: the API takes no object of that size, and every line may have its fault."""
_TOLD_FAULTS = 10
_VOLUMES = {
    "secret": "secrets",
    "configMap": "configmaps",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims",
    "serviceAccountToken": "serviceaccounts",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificaterequests",
}
_VARIABLES = {
    "configMapKeyRef": "configmaps",
    "secretKeyRef": "secrets",
    "configMapRef": "configmaps",
    "secretRef": "secrets",
}


@dataclass(frozen=True, slots=True)
class StaticPodFile:
    """What a file holds: a complete pod, or faults.  Both these and warnings are ``file:line:column: text``."""

    pod: Document | None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_static_pod(text: str, place: str, node_name: str) -> StaticPodFile:
    """Check a file and complete its pod.

    Only the first faults of a file are told, with the number of the others.
    Of several documents a kubelet takes the first and does not look at the others; nor does this, but it says so.

    Args:
        text: Content of the file, YAML or JSON.
        place: Its path, for messages and for the pod's uid.
        node_name: Of this machine.
    """
    if len(text.encode()) > MAX_BYTES:
        return StaticPodFile(None, (f"{place}:1:1: the file is larger than {MAX_BYTES >> 20} MiB",))
    found = _read_first(text, place, node_name)
    if (more := len(found.faults) - _TOLD_FAULTS) > 0:
        return replace(found, faults=(*found.faults[:_TOLD_FAULTS], f"{place}: and {more:,} more faults"))
    return found


def _read_first(text: str, place: str, node_name: str) -> StaticPodFile:
    # With the first file: it takes 2 MiB.
    from podhost.manifests.documents import split_documents

    documents = split_documents(text)
    if len(documents) < 2 or documents[1].is_joined:
        return _read_one(text, place, node_name)
    first, second = documents[:2]
    found = _read_one("\n" * first.first_line + first.text, place, node_name)
    ignored = f"only the first of a static pod's file is taken, and this has {len(documents)}"
    warning = f"{place}:{second.first_line + 1}:1: this document is ignored: {ignored}"
    return replace(found, warnings=(warning,))


def _read_one(text: str, place: str, node_name: str) -> StaticPodFile:
    from podhost.manifests.report import check_text

    report = check_text(text, with_warnings=False)
    if faults := [f for f in report.faults if f.severity == "error"]:
        return StaticPodFile(None, tuple(f"{place}:{f.line}:{f.column}: {f.message}" for f in faults))
    if len(report.objects) != 1:
        return StaticPodFile(
            None, (f"{place}:1:1: a static pod's file holds one Pod, not {len(report.objects)} objects",)
        )
    (found,) = report.objects
    where = f"{place}:{found.line}:1"
    kind = (found.document.get("apiVersion"), found.document.get("kind"))
    if kind != ("v1", "Pod"):
        return StaticPodFile(None, (f"{where}: a static pod's file holds a Pod of v1, not {kind[1]} of {kind[0]}",))
    pod = check_structure(found.document, kinds.POD.schema).document
    if references := find_api_references(pod.get("spec") or {}):
        return StaticPodFile(None, (f"{where}: static pods may not reference {references}",))
    _complete(pod, place, node_name)
    errors = validate(kinds.POD, pod)
    return StaticPodFile(None if errors else pod, tuple(f"{where}: invalid pod: {e.message}" for e in errors))


def _complete(pod: Document, place: str, node_name: str) -> None:
    """What the API server and the kubelet would add, in place."""
    content = json.dumps(pod, sort_keys=True)
    uid = hashlib.sha256(f"{node_name}\0{place}\0{content}".encode()).hexdigest()[:32]
    meta = pod.setdefault("metadata", {})
    spec = pod.setdefault("spec", {})
    pod["apiVersion"], pod["kind"] = "v1", "Pod"
    pod["metadata"] = {
        **{key: meta[key] for key in ("labels", "annotations") if meta.get(key)},
        "name": f"{meta.get('name') or ''}-{node_name}",
        "namespace": meta.get("namespace") or "default",
        "uid": uid,
        "generation": 1,
    }
    annotations = pod["metadata"].setdefault("annotations", {})
    annotations |= {HASH_ANNOTATION: uid, SOURCE_ANNOTATION: "file"}
    spec["nodeName"] = node_name
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    kinds.POD.default(pod)
    kinds.POD.prepare_create(pod)


def find_api_references(spec: Mapping[str, Any]) -> str:
    """The first kind of API object that the pod needs, which a static pod may not; empty: none."""
    return next(_references(spec), "")


def _references(spec: Mapping[str, Any]) -> Iterator[str]:
    for volume in spec.get("volumes") or ():
        yield from _named(_VOLUMES, volume)
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _named(_VOLUMES, source)
    for _, _, container in all_containers(spec):
        for variable in container.get("env") or ():
            yield from _named(_VARIABLES, variable.get("valueFrom") or {})
        for source in container.get("envFrom") or ():
            yield from _named(_VARIABLES, source)
    if spec.get("imagePullSecrets"):
        yield "secrets"
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        yield "serviceaccounts"
    if spec.get("resourceClaims"):
        yield "resourceclaims"


def _named(resources: Mapping[str, str], fields: Iterable[str]) -> Iterator[str]:
    return (resources[field] for field in fields if field in resources)
