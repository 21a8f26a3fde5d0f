"""Events about what a pod asks for and will not get: no field is dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podhost.api.reasons import FIELD_NOT_HONOURED
from podhost.api.warnings import pod_spec_warnings
from podhost.kubelet.node_context import Document, Recorder


def compute_field_messages(spec: Mapping[str, Any]) -> list[str]:
    """One message an effect, with all fields that it goes for.  Pure."""
    fields: dict[str, list[str]] = {}
    for warning in pod_spec_warnings(spec):
        fields.setdefault(warning.text, []).append(warning.field)
    return [f"{', '.join(names)}: {text}" for text, names in fields.items()]


def record_field_events(recorder: Recorder, document: Document) -> None:
    """Once a pod, when it is started for the first time."""
    for message in compute_field_messages(document.get("spec") or {}):
        recorder.event(document, "Warning", FIELD_NOT_HONOURED, message)
