"""downwardAPI: fields of the pod itself as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from podhost.api import models
from podhost.api.quantity import parse_quantity
from podhost.cri.volumes import VolumeError
from podhost.volumes.object_files import DEFAULT_MODE
from podhost.volumes.plan import Payload, ProjectedFile
from podhost.volumes.settings import VolumeSettings

DOWNWARD_API_PLUGIN = "kubernetes.io~downward-api"

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")
_GO_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def compute_payload(
    pod: models.Pod,
    items: Sequence[models.DownwardAPIVolumeFile],
    settings: VolumeSettings,
    *,
    default_mode: int | None,
    default_user: int | None = None,
) -> Payload:
    """Files that show the pod's fields.

    Raises:
        VolumeError: A field that cannot be shown in a volume.
    """
    mode = DEFAULT_MODE if default_mode is None else default_mode
    payload = {}
    for item in items:
        if item.field_ref is not None:
            value = compute_field(pod, item.field_ref.field_path)
        elif item.resource_field_ref is not None:
            value = compute_resource(pod, item.resource_field_ref, settings)
        else:
            continue
        payload[item.path] = ProjectedFile(
            data=value.encode(),
            mode=mode if item.mode is None else item.mode,
            uid=default_user if item.user is None else item.user,
        )
    return payload


def compute_field(pod: models.Pod, path: str) -> str:
    """A field of the pod's metadata as text.  Raises VolumeError."""
    metadata = pod.metadata
    if match := _SUBSCRIPT.fullmatch(path):
        values = metadata.labels if match[1] == "labels" else metadata.annotations
        return values.get(match[2], "")
    match path:
        case "metadata.labels":
            return format_map(metadata.labels)
        case "metadata.annotations":
            return format_map(metadata.annotations)
        case "metadata.name":
            return metadata.name or ""
        case "metadata.namespace":
            return metadata.namespace or ""
        case "metadata.uid":
            return metadata.uid or ""
    raise VolumeError(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """``key="value"`` a line, sorted, quoted as Go does."""
    return "\n".join(f"{key}={quote_go(values[key])}" for key in sorted(values))


def quote_go(text: str) -> str:
    """Go's ``%q``."""
    return '"' + "".join(_quote_char(char) for char in text) + '"'


def _quote_char(char: str) -> str:
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    if char == " " or char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def compute_resource(pod: models.Pod, ref: models.ResourceFieldSelector, settings: VolumeSettings) -> str:
    """A container's request or limit in units of the divisor, rounded up; the host's where none is set.

    Raises:
        VolumeError: An unknown container or resource.
    """
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    container = next((one for one in containers if one.name == ref.container_name), None)
    if container is None:
        raise VolumeError(f"container {ref.container_name} not found")
    section, _, resource = ref.resource.partition(".")
    if section not in ("limits", "requests") or not resource:
        raise VolumeError(f"unsupported container resource : {ref.resource}")
    resources = container.resources or models.ResourceRequirements()
    values = resources.limits if section == "limits" else resources.requests
    amount = parse_quantity(values[resource]) if resource in values else Fraction(0)
    if not amount and section == "limits":
        amount = _host_amount(resource, settings)
    divisor = parse_quantity(ref.divisor) if ref.divisor is not None else Fraction(0)
    return str(-(-amount // (divisor or Fraction(1))))


def _host_amount(resource: str, settings: VolumeSettings) -> Fraction:
    if resource == "cpu":
        return Fraction(settings.cpu_millis, 1000)
    return Fraction(settings.memory_bytes if resource == "memory" else 0)
