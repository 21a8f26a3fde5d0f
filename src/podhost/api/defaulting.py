"""Kubernetes' defaults (``pkg/apis/core/v1/defaults.go``), applied in place to a private copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from podhost.api.image_refs import default_pull_policy
from podhost.api.objects import Object, all_containers, ensure_section
from podhost.api.pod_requests import sum_container_requests
from podhost.api.quantity import format_quantity, round_to_milli

if TYPE_CHECKING:
    pass

_VOLUME_MODE = 0o644


def default_pod(pod: Object) -> None:
    default_pod_spec(ensure_section(pod, "spec"))


def default_pod_template(template: Object) -> None:
    """A ``PodTemplate``, which holds a pod that is not one yet."""
    default_pod_spec(ensure_section(ensure_section(template, "template"), "spec"))


def default_pod_spec(spec: Object) -> None:
    """Defaults of a pod's spec, also inside templates."""
    _fill(spec, "restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    _fill(spec, "dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    _fill(spec, "schedulerName", "default-scheduler")
    spec.setdefault("enableServiceLinks", True)
    _sync_service_account(spec)
    for group, _, container in all_containers(spec):
        default_container(container, ephemeral=group == "ephemeralContainers")
        if spec.get("hostNetwork"):
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    _default_pod_requests(spec)
    round_resources(spec.get("resources"))
    round_amounts(spec.get("overhead"))
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    for constraint in spec.get("topologySpreadConstraints") or ():
        constraint.setdefault("nodeAffinityPolicy", "Honor")
        constraint.setdefault("nodeTaintsPolicy", "Ignore")


def _fill(owner: Object, name: str, value: Any) -> None:
    """Where Go has no pointer, an empty text is as good as none."""
    if not owner.get(name):
        owner[name] = value


def _sync_service_account(spec: Object) -> None:
    """``serviceAccount`` is the old name of ``serviceAccountName``; both are shown."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def default_container(container: Object, *, ephemeral: bool = False) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = default_pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = container.setdefault("resources", {})
    if not ephemeral:
        _default_requests(resources)
    round_resources(resources)
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_http_get(hook)
    _default_env(container.get("env") or ())


def _default_pod_requests(spec: Object) -> None:
    """Where the whole pod is limited: what its containers request together, else the limit."""
    whole = spec.get("resources") or {}
    limits = whole.get("limits")
    if not limits:
        return
    requests = dict(whole.get("requests") or {})
    for name, amount in sum_container_requests(spec).items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, format_quantity(amount, "binary" if name == "memory" else "decimal"))
    for name, amount in limits.items():
        requests.setdefault(name, amount)
    whole["requests"] = requests


def _default_requests(resources: Object) -> None:
    """What is limited and not requested is requested at its limit."""
    limits = resources.get("limits")
    if limits:
        requests = ensure_section(resources, "requests")
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def round_resources(resources: Object | None) -> None:
    """Requests and limits are kept in thousandths at the finest."""
    for part in ("requests", "limits"):
        round_amounts((resources or {}).get(part))


def round_amounts(amounts: Object | None) -> None:
    if amounts is None:
        return
    for name, amount in amounts.items():
        with suppress(ValueError):  # what is no quantity is for the validation
            amounts[name] = round_to_milli(amount)


def _default_probe(probe: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    _default_http_get(probe)
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_http_get(action: Object) -> None:
    http_get = action.get("httpGet")
    if http_get is not None:
        http_get["path"] = http_get.get("path") or "/"
        http_get["scheme"] = http_get.get("scheme") or "HTTP"


def _default_env(env: Iterable[Object]) -> None:
    for variable in env:
        source = variable.get("valueFrom") or {}
        if source.get("fieldRef") is not None:
            _fill(source["fieldRef"], "apiVersion", "v1")
        if source.get("resourceFieldRef") is not None:
            source["resourceFieldRef"].setdefault("divisor", "0")
        if source.get("fileKeyRef") is not None:
            source["fileKeyRef"].setdefault("optional", False)


_SOURCE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "secret": {"defaultMode": _VOLUME_MODE},
    "configMap": {"defaultMode": _VOLUME_MODE},
    "downwardAPI": {"defaultMode": _VOLUME_MODE},
    "projected": {"defaultMode": _VOLUME_MODE},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"fsType": "xfs", "storageMode": "ThinProvisioned"},
}


_WITHOUT_POINTERS = frozenset({"iscsi", "rbd", "scaleIO"})


def default_volume(volume: Object) -> None:
    """A volume without a source is an emptyDir."""
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source, defaults in _SOURCE_DEFAULTS.items():
        if volume.get(source) is not None:
            for name, value in defaults.items():
                if source in _WITHOUT_POINTERS:
                    _fill(volume[source], name, value)
                else:
                    volume[source].setdefault(name, value)
    _default_downward(volume.get("downwardAPI") or {})
    for projection in (volume.get("projected") or {}).get("sources") or ():
        _default_downward(projection.get("downwardAPI") or {})
        if projection.get("serviceAccountToken") is not None:
            projection["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    image = volume.get("image")
    if image is not None and not image.get("pullPolicy"):
        image["pullPolicy"] = default_pull_policy(image.get("reference") or "")
    _default_claim_template((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {})


def _default_downward(source: Object) -> None:
    for item in source.get("items") or ():
        if item.get("fieldRef") is not None:
            _fill(item["fieldRef"], "apiVersion", "v1")
        if item.get("resourceFieldRef") is not None:
            item["resourceFieldRef"].setdefault("divisor", "0")


def _default_claim_template(template: Object) -> None:
    if template.get("spec") is not None:
        template["spec"].setdefault("volumeMode", "Filesystem")
        round_resources(template["spec"].get("resources"))


def default_service(service: Object) -> None:
    spec = ensure_section(service, "spec")
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        client = ensure_section(ensure_section(spec, "sessionAffinityConfig"), "clientIP")
        client.setdefault("timeoutSeconds", 10800)
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        _default_service_port(port)
    external = spec["type"] in ("NodePort", "LoadBalancer") or (
        spec["type"] == "ClusterIP" and bool(spec.get("externalIPs"))
    )
    if external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] != "ExternalName" and not spec.get("internalTrafficPolicy"):
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _default_service_port(port: Object) -> None:
    if not port.get("protocol"):
        port["protocol"] = "TCP"
    if port.get("targetPort") in (None, 0, ""):
        port["targetPort"] = port.get("port", 0)


def default_secret(secret: Object) -> None:
    if not secret.get("type"):
        secret["type"] = "Opaque"


def default_namespace(namespace: Object) -> None:
    """Every namespace carries its own name as a label."""
    meta = ensure_section(namespace, "metadata")
    if meta.get("name"):
        ensure_section(meta, "labels").setdefault("kubernetes.io/metadata.name", meta["name"])


def default_endpoints(endpoints: Object) -> None:
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def default_endpoint_slice(endpoint_slice: Object) -> None:
    for port in endpoint_slice.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
