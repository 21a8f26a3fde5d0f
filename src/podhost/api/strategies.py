"""Which part of a written object belongs to whom: what a create or an update may not set is reset here.

The registry strategies of Kubernetes (``pkg/registry/core/*/strategy.go``), as pure functions.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

from podhost.api.objects import Object, ensure_section
from podhost.api.profile_annotations import adopt_apparmor_annotations
from podhost.api.qos import compute_qos_class


def _restore(new: Object, old: Mapping[str, Any], key: str) -> None:
    """Take ``key`` from the old object, or drop it when the old one had none."""
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


def keep_status(new: Object, old: Object) -> None:
    """An update of the object does not touch its status."""
    _restore(new, old, "status")


def keep_all_but_status(new: Object, old: Object) -> None:
    """An update of the status touches nothing else but labels and annotations."""
    for key in set(new) | set(old):
        if key not in ("status", "metadata", "kind", "apiVersion"):
            _restore(new, old, key)
    meta, old_meta = ensure_section(new, "metadata"), old.get("metadata") or {}
    for key in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers"):
        _restore(meta, old_meta, key)


def start_generation(obj: Object) -> None:
    ensure_section(obj, "metadata")["generation"] = 1


def count_generation(new: Object, old: Object) -> None:
    """``metadata.generation`` counts the changes of ``spec``."""
    _count(new, old, changed=new.get("spec") != old.get("spec"))


def count_generation_of_content(new: Object, old: Object) -> None:
    """For kinds without ``spec``: everything but metadata counts."""
    keys = (set(new) | set(old)) - {"metadata", "kind", "apiVersion"}
    labels = (new.get("metadata") or {}).get("labels") != (old.get("metadata") or {}).get("labels")
    _count(new, old, changed=labels or any(new.get(key) != old.get(key) for key in keys))


def _count(new: Object, old: Object, *, changed: bool) -> None:
    generation = (old.get("metadata") or {}).get("generation", 0) + changed
    meta = ensure_section(new, "metadata")
    if generation:
        meta["generation"] = generation
    else:
        meta.pop("generation", None)


def prepare_pod_create(pod: Object) -> None:
    start_generation(pod)
    adopt_apparmor_annotations(pod)
    pod["status"] = {"phase": "Pending", "qosClass": compute_qos_class(pod.get("spec") or {})}
    if (pod.get("spec") or {}).get("schedulingGates"):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": pod["metadata"].get("creationTimestamp"),
            }
        ]


def prepare_pod_update(new: Object, old: Object) -> None:
    keep_status(new, old)
    count_generation(new, old)


def prepare_ephemeral_containers_update(new: Object, old: Object) -> None:
    """The subresource ``ephemeralcontainers`` changes nothing but those."""
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    metadata = {**(old.get("metadata") or {})}
    if version := (new.get("metadata") or {}).get("resourceVersion"):
        metadata["resourceVersion"] = version
    new.clear()
    new.update({**old, "metadata": metadata, "spec": {**(old.get("spec") or {})}})
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    else:
        new["spec"].pop("ephemeralContainers", None)


def prepare_pod_resize(new: Object, old: Object) -> None:
    """Only resources are taken from the new object, container by container."""
    wanted = new.get("spec") or {}
    spec = copy.deepcopy(dict(old.get("spec") or {}))
    for group in ("containers", "initContainers"):
        by_name = {container.get("name"): container for container in wanted.get(group) or ()}
        for container in spec.get(group) or ():
            asked = by_name.get(container.get("name"))
            if asked is not None:
                for key in ("resources", "resizePolicy"):
                    _restore(container, asked, key)
    _restore(spec, wanted, "resources")
    keep_status(new, old)
    new["spec"] = spec
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        _restore(ensure_section(new, "metadata"), old.get("metadata") or {}, key)
    count_generation(new, old)


def prepare_pod_status_update(new: Object, old: Object) -> None:
    keep_all_but_status(new, old)
    status, old_status = ensure_section(new, "status"), old.get("status") or {}
    if not status.get("qosClass") and "qosClass" in old_status:
        status["qosClass"] = old_status["qosClass"]


def prepare_service_create(service: Object) -> None:
    service["status"] = {"loadBalancer": {}}


def prepare_service_update(new: Object, old: Object) -> None:
    """Status is kept; addresses and ports that the client left out are the old ones (patches by kubectl)."""
    keep_status(new, old)
    spec, old_spec = ensure_section(new, "spec"), old.get("spec") or {}
    _drop_fields_of_old_type(spec, old_spec)
    if spec.get("type") == "ExternalName":
        return
    if old_spec.get("type") != "ExternalName":
        _keep_addresses(spec, old_spec)
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        _keep_node_ports(spec, old_spec)


def _drop_fields_of_old_type(spec: Object, old_spec: Mapping[str, Any]) -> None:
    """What belonged to the old type and was not touched goes with it."""
    kind, old_kind = spec.get("type"), old_spec.get("type")
    if kind == old_kind:
        return
    gone = []
    if kind == "ExternalName":
        gone += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]
    if kind not in ("NodePort", "LoadBalancer"):
        gone.append("externalTrafficPolicy")
        old_ports = {port.get("nodePort") for port in old_spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in old_ports:
                port.pop("nodePort", None)
    if kind != "LoadBalancer":
        gone += ["allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass"]
    for name in gone:
        if spec.get(name) == old_spec.get(name):
            spec.pop(name, None)


def _keep_addresses(spec: Object, old_spec: Mapping[str, Any]) -> None:
    if not spec.get("clusterIP") and old_spec.get("clusterIP"):
        spec["clusterIP"] = old_spec["clusterIP"]
    if not spec.get("clusterIPs") and spec.get("clusterIP") == old_spec.get("clusterIP") and "clusterIPs" in old_spec:
        spec["clusterIPs"] = list(old_spec["clusterIPs"])


def _keep_node_ports(spec: Object, old_spec: Mapping[str, Any]) -> None:
    old_ports = {
        (port.get("port"), port.get("protocol", "TCP")): port["nodePort"]
        for port in old_spec.get("ports") or ()
        if port.get("nodePort")
    }
    used = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    for port in spec.get("ports") or ():
        old_port = old_ports.get((port.get("port"), port.get("protocol", "TCP")))
        if not port.get("nodePort") and old_port is not None and old_port not in used:
            port["nodePort"] = old_port


def prepare_namespace_create(namespace: Object) -> None:
    namespace["status"] = {"phase": "Active"}
    finalizers = ensure_section(namespace, "spec").setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def prepare_namespace_update(new: Object, old: Object) -> None:
    """Finalizers in ``spec`` change only through the ``finalize`` subresource."""
    keep_status(new, old)
    ensure_section(new, "spec")["finalizers"] = list((old.get("spec") or {}).get("finalizers") or ())


def merge_string_data(secret: Object) -> None:
    """``stringData`` is write-only: it lands in ``data`` as base64."""
    strings = secret.pop("stringData", None)
    if strings:
        data = ensure_section(secret, "data")
        for key, value in strings.items():
            data[key] = base64.b64encode(value.encode()).decode()


def prepare_secret_update(new: Object, old: Object) -> None:
    """An update that leaves the type out keeps it."""
    merge_string_data(new)
    if not new.get("type") and old.get("type"):
        new["type"] = old["type"]
