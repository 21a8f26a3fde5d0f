"""The table of ``podhost top``: rows out of documents, and lines out of rows.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from podhost.api.objects import all_containers
from podhost.api.quantity import parse_quantity
from podhost.cli.terminal import paint

Document = Mapping[str, Any]
SortBy = Literal["cpu", "memory", "io", "name"]
_HOT = 0.9
_WARM = 0.7
_BAR_WIDTH = 10
_MIN_NAME = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pod, or one of its containers."""

    namespace: str
    pod: str
    container: str = ""
    """Empty for the pod as a whole."""
    cores: float | None
    cores_limit: float | None = None
    memory_bytes: int | None
    memory_limit_bytes: int | None = None
    read_bytes_per_s: float | None = None
    written_bytes_per_s: float | None = None
    pids: int | None = None
    window: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How to draw."""

    width: int
    colour: bool = False
    namespaces: bool = False
    """A column for the namespace."""
    ascii: bool = False
    live: bool = False
    """Bars where there is room."""


def build_rows(stats: Document, pod: Document | None, *, containers: bool) -> list[Row]:
    """The pod's row, then those of its containers when asked for.  ``pod`` gives the limits."""
    limits = _read_limits(pod)
    parts = [_build_container(stats, each, limits) for each in stats.get("containers") or ()]
    whole = _add_up(stats, parts)
    return [whole, *parts] if containers else [whole]


def _build_container(stats: Document, entry: Document, limits: Mapping[str, Mapping[str, Fraction]]) -> Row:
    usage, io = entry.get("usage") or {}, entry.get("io") or {}
    limit = limits.get(entry["name"], {})
    return Row(
        namespace=stats["metadata"].get("namespace", ""),
        pod=stats["metadata"]["name"],
        container=entry["name"],
        cores=float(parse_quantity(usage["cpu"])) if "cpu" in usage else None,
        cores_limit=float(limit["cpu"]) if limit.get("cpu") else None,
        memory_bytes=int(parse_quantity(usage["memory"])) if "memory" in usage else None,
        memory_limit_bytes=int(limit["memory"]) if limit.get("memory") else None,
        read_bytes_per_s=io.get("readBytesPerSecond"),
        written_bytes_per_s=io.get("writtenBytesPerSecond"),
        pids=entry.get("pids"),
        window=stats.get("window", ""),
    )


def _read_limits(pod: Document | None) -> dict[str, dict[str, Fraction]]:
    if pod is None:
        return {}
    return {
        container["name"]: {
            name: parse_quantity(value)
            for name, value in ((container.get("resources") or {}).get("limits") or {}).items()
        }
        for _, _, container in all_containers(pod["spec"])
    }


def _add_up(stats: Document, parts: Sequence[Row]) -> Row:
    """A limit of the whole only where every part has one."""

    def total(values: Iterable[Any]) -> Any:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    def bounded(values: Sequence[Any]) -> Any:
        return sum(values) if values and None not in values else None

    return Row(
        namespace=stats["metadata"].get("namespace", ""),
        pod=stats["metadata"]["name"],
        cores=total(part.cores for part in parts),
        cores_limit=bounded([part.cores_limit for part in parts]),
        memory_bytes=total(part.memory_bytes for part in parts),
        memory_limit_bytes=bounded([part.memory_limit_bytes for part in parts]),
        read_bytes_per_s=total(part.read_bytes_per_s for part in parts),
        written_bytes_per_s=total(part.written_bytes_per_s for part in parts),
        pids=total(part.pids for part in parts),
        window=stats.get("window", ""),
    )


def sort_groups(groups: Sequence[Sequence[Row]], by: SortBy) -> list[list[Row]]:
    """Pods by what they use, the hungriest first; the containers of a pod likewise."""

    def weight(row: Row) -> tuple[float, str, str, str]:
        amount = {
            "cpu": row.cores,
            "memory": row.memory_bytes,
            "io": (row.read_bytes_per_s or 0) + (row.written_bytes_per_s or 0),
            "name": 0,
        }[by]
        return (-float(amount or 0), row.namespace, row.pod, row.container)

    def ordered(group: Sequence[Row]) -> list[Row]:
        whole, *parts = group
        return [whole, *(parts if by == "name" else sorted(parts, key=weight))]

    return [ordered(group) for group in sorted(groups, key=lambda group: weight(group[0]))]


def draw_table(rows: Sequence[Row], view: View) -> list[str]:
    """Lines no wider than the view, the header first."""
    columns = _choose_columns(rows, view)
    table = [[title for title, _ in columns]]
    table += [[write(row) for _, write in columns] for row in rows]
    names = 2 if view.namespaces else 1
    widths = [max(len(line[index]) for line in table) for index in range(len(columns))]
    _squeeze(widths, names, view)
    return [_draw_line(line, widths, names, row, view) for line, row in zip(table, (None, *rows), strict=True)]


def _choose_columns(rows: Sequence[Row], view: View) -> list[tuple[str, Any]]:
    columns: list[tuple[str, Any]] = [("NAMESPACE", lambda row: "" if row.container else row.namespace)]
    columns = columns if view.namespaces else []
    columns += [("POD", lambda row: f"  {row.container}" if row.container else row.pod)]
    columns += [("CPU", lambda row: format_cores(row.cores)), ("MEMORY", lambda row: format_binary(row.memory_bytes))]
    bars = view.live and view.width >= 120
    if bars or any(row.cores_limit for row in rows):
        columns.insert(-1, ("OF LIMIT", lambda row: _of(row.cores, row.cores_limit, view, bars=bars)))
    if bars or any(row.memory_limit_bytes for row in rows):
        columns.append(("OF LIMIT", lambda row: _of(row.memory_bytes, row.memory_limit_bytes, view, bars=bars)))
    if any(row.read_bytes_per_s is not None for row in rows):
        columns.append(("READ/s", lambda row: format_binary(row.read_bytes_per_s)))
        columns.append(("WRITE/s", lambda row: format_binary(row.written_bytes_per_s)))
    if any(row.pids is not None for row in rows):
        columns.append(("PIDS", lambda row: "-" if row.pids is None else str(row.pids)))
    return columns


def _squeeze(widths: list[int], names: int, view: View) -> None:
    """Take from the longest name until the line fits."""
    over = sum(widths) + 3 * (len(widths) - 1) - view.width
    while over > 0:
        longest = max(range(names), key=lambda index: widths[index])
        if widths[longest] <= _MIN_NAME:
            return
        cut = min(over, widths[longest] - _MIN_NAME)
        widths[longest] -= cut
        over -= cut


def _draw_line(cells: Sequence[str], widths: Sequence[int], names: int, row: Row | None, view: View) -> str:
    mark = "~" if view.ascii else "…"
    shown = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell if len(cell) <= width else cell[: width - 1] + mark
        shown.append(text.ljust(width) if index < names else text.rjust(width))
    line = "   ".join(shown).rstrip()
    if not view.colour:
        return line
    if row is None:
        return paint(line, "bold", enabled=True)
    heat = max(_share(row.cores, row.cores_limit), _share(row.memory_bytes, row.memory_limit_bytes))
    if heat >= _HOT:
        return paint(line, "red", enabled=True)
    if heat >= _WARM:
        return paint(line, "yellow", enabled=True)
    return paint(line, "grey", enabled=True) if row.container else line


def _share(value: float | None, limit: float | None) -> float:
    return value / limit if value is not None and limit else 0.0


def _of(value: float | None, limit: float | None, view: View, *, bars: bool) -> str:
    if value is None or not limit:
        return "-"
    share = value / limit
    text = f"{share * 100:.0f}%"
    if not bars:
        return text
    filled = min(_BAR_WIDTH, round(share * _BAR_WIDTH))
    full, empty = ("#", ".") if view.ascii else ("█", "░")
    return f"{full * filled}{empty * (_BAR_WIDTH - filled)} {text:>4}"


def format_cores(cores: float | None) -> str:
    """``3m``, ``0.2m``, ``1.52``: thousandths below one core."""
    if cores is None:
        return "-"
    if cores >= 1:
        return f"{cores:.2f}"
    millis = cores * 1000
    return f"{millis:.1f}m" if 0 < millis < 10 else f"{millis:.0f}m"


def format_binary(count: float | None) -> str:
    """``512``, ``1.5Mi``: binary units, as Kubernetes writes memory."""
    if count is None:
        return "-"
    for unit in ("", "Ki", "Mi", "Gi"):
        if count < 1024:
            return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}Ti"


def draw_machine(node: Document, metrics: Document) -> str:
    """``node vm   cpu 1.35 of 2 (67%)   memory 1.6Gi of 23.5Gi (6%)``."""
    room = (node.get("status") or {}).get("allocatable") or {}
    cores, memory = float(parse_quantity(metrics["usage"]["cpu"])), int(parse_quantity(metrics["usage"]["memory"]))
    parts = [f"node {node['metadata']['name']}"]
    for name, value, limit, write in (
        ("cpu", cores, room.get("cpu"), format_cores),
        ("memory", memory, room.get("memory"), format_binary),
    ):
        all_of = float(parse_quantity(limit)) if limit else 0.0
        whole = f"{all_of:g}" if name == "cpu" else format_binary(all_of)
        share = f" of {whole} ({value / all_of * 100:.0f}%)" if all_of else ""
        parts.append(f"{name} {write(value)}{share}")
    return "   ".join(parts)


def cut_lines(lines: Sequence[str], height: int, hidden_word: str = "more") -> list[str]:
    """As many as a screen shows; the last one says how many are not shown."""
    if len(lines) <= height:
        return list(lines)
    kept = max(1, height - 1)
    return [*lines[:kept], f"… {len(lines) - kept} {hidden_word}"]
