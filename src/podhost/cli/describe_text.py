"""How ``describe`` writes: labelled values, sections, and whatever is left as YAML.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from podhost.cli.events import format_own_events
from podhost.cli.terminal import clean_text, format_age, paint

Document = Mapping[str, Any]

LABEL_WIDTH = 17
_HIDDEN_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)


def labelled(label: str, value: object, *, indent: int = 0) -> str:
    """``Label:           value``; several lines stand below each other."""
    lines = [clean_text(line) for line in str(value).splitlines()] or [""]
    start = " " * indent + f"{label}:".ljust(LABEL_WIDTH)
    return "\n".join([start + lines[0], *(" " * len(start) + line for line in lines[1:])]).rstrip()


def title(text: str, *, colour: bool) -> str:
    return paint(text, "bold", enabled=colour)


def format_when(stamp: str | None, now_s: float) -> str:
    """``2026-01-31T12:00:00Z (5m ago)``."""
    if not stamp:
        return "<unknown>"
    try:
        age = now_s - datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return stamp
    return f"{stamp} ({format_age(age)} ago)"


def metadata_lines(obj: Document, now_s: float) -> Iterator[str]:
    metadata = obj["metadata"]
    if metadata.get("namespace"):
        yield labelled("Namespace", metadata["namespace"])
    yield labelled("Created", format_when(metadata.get("creationTimestamp"), now_s))
    if metadata.get("deletionTimestamp"):
        grace = metadata.get("deletionGracePeriodSeconds")
        yield labelled("Deleted", f"{metadata['deletionTimestamp']}, {grace} s of grace")
    for owner in metadata.get("ownerReferences") or []:
        yield labelled("Owned by", f"{owner.get('kind')}/{owner.get('name')}")
    yield labelled("Labels", pairs(metadata.get("labels")))
    shown = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _HIDDEN_ANNOTATIONS}
    if shown:
        yield labelled("Annotations", pairs(shown))


def pairs(mapping: Document | None) -> str:
    return "\n".join(f"{key}={value}" for key, value in sorted((mapping or {}).items())) or "<none>"


def yaml_lines(document: object, *, indent: int) -> list[str]:
    """A value as YAML, pushed in."""
    import yaml

    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)
    return [" " * indent + line for line in text.rstrip("\n").splitlines()]


def events_section(events: Sequence[Document], now_s: float, *, colour: bool) -> list[str]:
    lines = ["", title("Events", colour=colour)]
    if not events:
        return [*lines, "  none in the last hour"]
    header, *rows = format_own_events(events, now_s).splitlines()
    shown = [
        paint(row, "yellow", enabled=colour and event.get("type") == "Warning")
        for row, event in zip(rows, events, strict=True)
    ]
    return [*lines, *(f"  {line}" for line in (header, *shown))]


def describe_object(
    kind: str, obj: Document, events: Sequence[Document], now_s: float, *, colour: bool = False
) -> list[str]:
    """Any kind: metadata, then everything else as YAML; the values of a Secret are counted, not shown."""
    lines = [title(f"{kind.lower()}/{obj['metadata']['name']}", colour=colour), *metadata_lines(obj, now_s)]
    for key, value in obj.items():
        if key in ("apiVersion", "kind", "metadata") or value in (None, {}, []):
            continue
        shown = _count_secrets(value) if kind == "Secret" and key == "data" else value
        lines += ["", title(key[:1].upper() + key[1:], colour=colour), *yaml_lines(shown, indent=2)]
    return [*lines, *events_section(events, now_s, colour=colour)]


def _count_secrets(data: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{len(value) * 3 // 4 - value.count('=')} bytes" for name, value in data.items()}
