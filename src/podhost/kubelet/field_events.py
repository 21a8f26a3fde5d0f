"""Events about what a pod asks for and will not get: no field is dropped in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from podhost.api.objects import all_containers
from podhost.api.warnings import pod_spec_host_warnings, pod_spec_warnings
from podhost.kubelet.node_context import Document, Recorder


def compute_field_messages(spec: Mapping[str, Any], missing: Collection[str] = ()) -> list[str]:
    """One message an effect, with all fields that it goes for; ``missing`` modules of the kernel count.  Pure."""
    fields: dict[str, list[str]] = {}
    for warning in (*pod_spec_warnings(spec), *pod_spec_host_warnings(spec, missing)):
        fields.setdefault(warning.text, []).append(warning.field)
    return [f"{', '.join(names)}: {text}" for text, names in fields.items()]


def compute_limit_messages(spec: Mapping[str, Any], unlimited: Collection[str]) -> list[str]:
    """What is limited in the spec and cannot be on this host.  Pure."""
    sections = [("spec.resources", spec.get("resources") or {})]
    sections += [
        (f"spec.{group}[{index}].resources", container.get("resources") or {})
        for group, index, container in all_containers(spec)
    ]
    messages = []
    for name in sorted(unlimited):
        fields = [f"{path}.limits.{name}" for path, resources in sections if name in (resources.get("limits") or {})]
        if fields:
            why = f"not enforced: this host does not delegate the cgroup controller {name}"
            messages.append(f"{', '.join(fields)}: {why}")
    return messages


def record_field_events(
    recorder: Recorder, document: Document, unlimited: Collection[str] = (), missing: Collection[str] = ()
) -> None:
    """Once a pod, when it is started for the first time.

    ``unlimited`` are resources that the host cannot limit, ``missing`` modules that its kernel lacks.
    """
    spec = document.get("spec") or {}
    for message in (*compute_field_messages(spec, missing), *compute_limit_messages(spec, unlimited)):
        recorder.event(document, "Warning", "FieldNotHonoured", message)
