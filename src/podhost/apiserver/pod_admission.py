"""What Kubernetes' default admission plugins do to a new pod: ServiceAccount, Priority, DefaultTolerationSeconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podhost.api import errors
from podhost.api.image_refs import default_pull_policy
from podhost.api.names import generate_name
from podhost.api.objects import all_containers, is_mirror_pod
from podhost.api.priority_classes import assign_priority, find_priority_class
from podhost.api.validation.metadata import ANNOTATIONS_MAX_BYTES

Obj = dict[str, Any]
FindServiceAccount = Callable[[str, str], Mapping[str, Any] | None]
"""(namespace, name) -> the account."""

_TOLERATION_S = 300
_NODE_CONDITIONS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


TOKEN_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_VOLUME = "kube-api-access-"
_TOKEN_EXPIRATION_S = 3607
"""Kubernetes' own odd number, by which such a token is told from one that a user asked for."""
POLICY_DEFAULTED_ANNOTATION = "podhost.dev/image-pull-policy-defaulted"


def note_defaulted_pull_policies(pod: Obj, added: str = "") -> None:
    """Record, before defaulting, which containers of ``:latest`` images leave ``imagePullPolicy`` out.

    The kubelet uses a local image for those (docs/compat.md); an ``Always`` of the user's own pulls.

    Args:
        pod: A new pod, or one that has been there.
        added: For the latter: the list that has got more containers; what is noted of the others stays.
    """
    metadata, spec = pod["metadata"], pod.get("spec")
    if not isinstance(spec, dict):
        return
    defaulted, always = [], False
    if added:
        noted = (metadata.get("annotations") or {}).get(POLICY_DEFAULTED_ANNOTATION)
        defaulted, always = [name for name in (noted or "").split(",") if name], noted is not None
    for group, _, container in all_containers(spec):
        if added and group != added:
            continue
        policy = container.get("imagePullPolicy")
        if policy == "Always":
            always = True
        elif not policy and default_pull_policy(container.get("image") or "") == "Always":
            defaulted.append(str(container.get("name", "")))
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(POLICY_DEFAULTED_ANNOTATION, None)
    note = ",".join(defaulted)
    if (defaulted or always) and _has_room(annotations, note):
        annotations[POLICY_DEFAULTED_ANNOTATION] = note
    if annotations:
        metadata["annotations"] = annotations


def _has_room(annotations: Mapping[str, Any], note: str) -> bool:
    """A note of ours must not be what makes a user's annotations too long, and their error."""
    parts = (POLICY_DEFAULTED_ANNOTATION, note, *annotations, *annotations.values())
    return sum(len(str(part).encode("utf-8", "replace")) for part in parts) <= ANNOTATIONS_MAX_BYTES


def admit_pod(
    pod: Obj, find_service_account: FindServiceAccount, priority_classes: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Complete a new pod in place.

    Raises:
        ApiError: 403 for a ServiceAccount or priority class that does not exist.
    """
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return  # validation says so
    _set_service_account(pod, spec, find_service_account)
    _set_priority(pod["metadata"], spec, priority_classes)
    _add_tolerations(spec)


def admit_pod_update(new: Obj, old: Mapping[str, Any]) -> None:
    """Complete a changed pod in place: what admission had added may be left out by who replaces the pod."""
    spec, before = new.get("spec"), old.get("spec") or {}
    if not isinstance(spec, dict):
        return
    for name in ("priority", "preemptionPolicy"):
        if spec.get(name) is None and before.get(name) is not None:
            spec[name] = before[name]
    _add_tolerations(spec)


def _set_service_account(pod: Obj, spec: Obj, find: FindServiceAccount) -> None:
    metadata = pod["metadata"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    namespace = metadata.get("namespace", "")
    account = find(namespace, name)
    # Every namespace has its "default" account, made by a controller; a pod does not wait for that.
    if name != "default" and account is None:
        detail = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden("pods", metadata.get("name", ""), detail)
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    if _wants_token(spec, account) and not is_mirror_pod(pod):
        _mount_token(spec)
    if account and account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": each.get("name", "")} for each in account["imagePullSecrets"]]


def _wants_token(spec: Obj, account: Mapping[str, Any] | None) -> bool:
    """The pod's word counts for more than the account's."""
    for source in (spec, account or {}):
        wish = source.get("automountServiceAccountToken")
        if wish is not None:
            return bool(wish)
    return True


def _mount_token(spec: Obj) -> None:
    """Token, CA certificate and namespace for every container that has not something else at that place."""
    containers = [
        container
        for group in ("initContainers", "containers")
        for container in spec.get(group) or ()
        if all(mount.get("mountPath") != TOKEN_MOUNT_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not containers:
        return
    volumes = spec.get("volumes") or []
    # A pod that was read from a cluster, and is created here, brings its volume along.
    name = next((v["name"] for v in volumes if str(v.get("name", "")).startswith(_TOKEN_VOLUME)), "")
    if not name:
        name = generate_name(_TOKEN_VOLUME)
        spec["volumes"] = [*volumes, _build_token_volume(name)]
    for container in containers:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _build_token_volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": _TOKEN_EXPIRATION_S, "path": "token"}},
        {"configMap": certificate},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"defaultMode": 0o644, "sources": sources}}


def _set_priority(metadata: Obj, spec: Obj, classes: Sequence[Mapping[str, Any]]) -> None:
    name, given = spec.get("priorityClassName") or "", spec.get("priority")
    chosen = find_priority_class(name, classes)
    if name and chosen is None:
        raise errors.forbidden("pods", metadata.get("name", ""), f"no PriorityClass with name {name} was found")
    assign_priority(spec, chosen)
    if given not in (None, spec["priority"]):
        detail = (
            f"the integer value of priority ({given}) must not be provided in pod spec; "
            f"priority admission controller computed {spec['priority']} from the given PriorityClass name"
        )
        raise errors.forbidden("pods", metadata.get("name", ""), detail)


def _add_tolerations(spec: Obj) -> None:
    tolerations = spec.get("tolerations") or []
    missing = [key for key in _NODE_CONDITIONS if not any(_tolerates(each, key) for each in tolerations)]
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATION_S} for key in missing
    ]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def _tolerates(toleration: Mapping[str, Any], key: str) -> bool:
    return toleration.get("key") in (None, "", key) and toleration.get("effect") in (None, "", "NoExecute")
