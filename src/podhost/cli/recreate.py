"""What a pod's manifest must have been: the object without what server, scheduler and kubelet have put in.  Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

_METADATA_KEPT = ("name", "namespace", "labels", "annotations", "finalizers")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULTED_POLICIES = "podhost.dev/image-pull-policy-defaulted"
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME = "kube-api-access-"


def build_recreated_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod that can be created in place of ``pod``, with the changes that were made to it since.

    The node is left to the scheduler unless the author chose it; the volume with the service account's token is
    made anew on admission; ephemeral containers are for debugging and cannot be created with a pod.
    """
    metadata = {key: copy.deepcopy(pod["metadata"][key]) for key in _METADATA_KEPT if pod["metadata"].get(key)}
    spec = copy.deepcopy(dict(pod["spec"]))
    spec.pop("ephemeralContainers", None)
    if not _author_chose_node(pod):
        spec.pop("nodeName", None)
    _drop_token(spec)
    _drop_defaulted_policies(metadata, spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _drop_defaulted_policies(metadata: dict[str, Any], spec: dict[str, Any]) -> None:
    """podhost notes which pull policies the author left to it: they are left to it again."""
    annotations = metadata.get("annotations") or {}
    names = str(annotations.pop(DEFAULTED_POLICIES, "")).split(",")
    for section in ("initContainers", "containers"):
        for container in spec.get(section) or []:
            if container["name"] in names:
                container.pop("imagePullPolicy", None)


def _author_chose_node(pod: Mapping[str, Any]) -> bool:
    text = (pod["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "{}"
    try:
        return bool(json.loads(text)["spec"].get("nodeName"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _drop_token(spec: dict[str, Any]) -> None:
    names = {
        volume["name"]
        for volume in spec.get("volumes") or []
        if str(volume.get("name", "")).startswith(TOKEN_VOLUME) and "projected" in volume
    }
    if not names:
        return
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in names]
    for section in ("initContainers", "containers"):
        for container in spec.get(section) or []:
            container["volumeMounts"] = [
                mount
                for mount in container.get("volumeMounts") or []
                if not (mount.get("name") in names and mount.get("mountPath") == _TOKEN_PATH)
            ]
