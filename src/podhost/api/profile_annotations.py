"""Annotations from before pods had fields for the same (pkg/registry/core/pod/strategy.go, pkg/api/pod/warnings.go).

Those of AppArmor still count: they become the container's field.  The others do nothing any more, and it is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from podhost.api.objects import Object, all_containers, ensure_section, section

APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"
LOCALHOST_PREFIX = "localhost/"
_WITHOUT_EFFECT = (
    ("scheduler.alpha.kubernetes.io/critical-pod", "v1.16", "priorityClassName"),
    ("security.alpha.kubernetes.io/sysctls", "v1.11", "sysctls"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "v1.11", "sysctls"),
)
"""Annotation, since when, and the field in its place."""
_KINDS = {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}
_MAX_NAME = 4095


def read_apparmor_annotation(value: str) -> dict[str, str] | None:
    """The field that an annotation stands for; ``None`` when it cannot be one."""
    if value in _KINDS:
        return {"type": _KINDS[value]}
    name = value.removeprefix(LOCALHOST_PREFIX)
    if name == value or not name or name != name.strip() or len(name.encode()) > _MAX_NAME:
        return None
    return {"type": "Localhost", "localhostProfile": name}


def _annotated(pod: Mapping[str, Any]) -> Iterator[tuple[str, Object, dict[str, str] | None]]:
    """(key, container, field) of the containers that have an annotation of AppArmor's and no field."""
    annotations = section(pod, "metadata", "annotations")
    for _, _, container in all_containers(section(pod, "spec")):
        key = f"{APPARMOR_PREFIX}{container.get('name')}"
        if key in annotations and not section(container, "securityContext").get("appArmorProfile"):
            yield key, container, read_apparmor_annotation(annotations[key])


def adopt_apparmor_annotations(pod: Object) -> None:
    """Annotations become fields, where those say something else than the pod's own field does."""
    if section(pod, "spec", "os").get("name") == "windows":
        return
    shared = section(pod, "spec", "securityContext").get("appArmorProfile")
    for _, container, profile in _annotated(pod):
        if profile is not None and profile != shared:
            ensure_section(container, "securityContext")["appArmorProfile"] = profile


def apparmor_annotation_warnings(pod: Object) -> list[str]:
    """About a pod as it was written, before :func:`adopt_apparmor_annotations`."""
    if section(pod, "spec", "os").get("name") == "windows":
        return []
    shared = section(pod, "spec", "securityContext").get("appArmorProfile")
    return [
        f'metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        for key, _, profile in _annotated(pod)
        if profile is None or profile != shared
    ]


def annotation_warnings(pod: Object) -> list[str]:
    """About annotations that look as if they did something to the pod, and do not."""
    annotations, spec = section(pod, "metadata", "annotations"), section(pod, "spec")
    found = [
        f'metadata.annotations[{key}]: non-functional in {version}+; use the "{field}" field instead'
        for key, version, field in _WITHOUT_EFFECT
        if key in annotations
    ]
    text = 'non-functional in v1.27+; use the "seccompProfile" field instead'
    if SECCOMP_POD in annotations and not section(spec, "securityContext").get("seccompProfile"):
        found.append(f"metadata.annotations[{SECCOMP_POD}]: {text}")
    for _, _, container in all_containers(spec):
        key = f"{SECCOMP_PREFIX}{container.get('name')}"
        if key in annotations and not section(container, "securityContext").get("seccompProfile"):
            found.append(f"metadata.annotations[{key}]: {text}")
    return found
