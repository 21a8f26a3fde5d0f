"""The table that ``podhost up`` draws while pods start: from pods, events and pulls to lines.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podhost.cli.terminal import clean_text, cut_text, format_age, format_bytes, paint
from podhost.cli.verdict import STUCK_REASONS, Verdict

Look = Literal["waiting", "pulling", "running", "ready", "done", "failed"]
Document = Mapping[str, Any]

_NAME_MAX = 24
_BAR_WIDTHS = (10, 30)
_COLOURS: dict[Look, str] = {
    "waiting": "grey",
    "pulling": "cyan",
    "running": "yellow",
    "ready": "green",
    "done": "green",
    "failed": "red",
}
_MARKS: dict[Look, tuple[str, str]] = {
    "waiting": ("·", "."),
    "pulling": ("↓", "v"),
    "running": ("◐", "o"),
    "ready": ("●", "*"),
    "done": ("✓", "+"),
    "failed": ("✗", "x"),
}
_SPINNER = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
_VERDICT_LOOK: dict[str, Look] = {"ready": "done", "completed": "done", "failed": "failed", "stuck": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRow:
    """One container: what it does, or what it waits for."""

    name: str
    look: Look
    text: str
    share: float | None = None
    """How much of a pull is done, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRows:
    """One pod with its containers."""

    name: str
    verdict: Verdict
    elapsed_s: float
    rows: tuple[ContainerRow, ...] = ()

    @property
    def is_settled(self) -> bool:
        return self.verdict.state in ("ready", "completed")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardStyle:
    width: int
    height: int
    colour: bool = False
    ascii: bool = False
    frame: int = 0
    """Turns the spinner."""


def compute_rows(pod: Document, events: Sequence[Document], pulls: Mapping[str, Document]) -> tuple[ContainerRow, ...]:
    """A row for each container, init containers first.

    Args:
        pod: The pod as the API has it.
        events: The pod's events, oldest first.
        pulls: State of running pulls (``PullProgress`` as JSON) by normalised reference.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    last = {_field_path(event): event for event in events}
    blocking = _blocking_init(spec, status)
    rows = []
    for section, statuses in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        entries = {str(entry.get("name")): entry for entry in status.get(statuses) or []}
        for container in spec.get(section) or []:
            name = str(container.get("name"))
            event = last.get(f"spec.{section}{{{name}}}", {})
            entry = entries.get(name, {})
            is_init = section == "initContainers" and container.get("restartPolicy") != "Always"
            row = _row_by_state(container, entry, event, is_init=is_init) or _row_by_event(container, event, pulls)
            if row is None:
                cause = _waits_for(name, blocking, spec, last.get("", {}))
                row = ContainerRow(name=name, look="waiting", text=cause)
            rows.append(row)
    return tuple(rows)


def _field_path(event: Document) -> str:
    return str((event.get("involvedObject") or {}).get("fieldPath") or "")


def _blocking_init(spec: Document, status: Document) -> str:
    """The init container that everything behind it waits for; empty when none."""
    entries = {str(entry.get("name")): entry for entry in status.get("initContainerStatuses") or []}
    for container in spec.get("initContainers") or []:
        entry = entries.get(str(container.get("name")), {})
        ended = (entry.get("state") or {}).get("terminated")
        is_sidecar = container.get("restartPolicy") == "Always"
        if not (is_sidecar and entry.get("started")) and (ended is None or ended.get("exitCode")):
            return str(container.get("name"))
    return ""


def _row_by_state(container: Document, entry: Document, event: Document, *, is_init: bool) -> ContainerRow | None:
    """What the container's own status says; ``None`` while it has nothing to say."""
    name, state = str(container.get("name")), entry.get("state") or {}
    if "running" in state and is_init:
        return ContainerRow(name=name, look="running", text="running; the others wait for its end")
    if "running" in state:
        return _running_row(name, container, entry, event)
    ended = state.get("terminated")
    if ended is not None:
        code = int(ended.get("exitCode") or 0)
        if code == 0:
            return ContainerRow(name=name, look="done", text="completed")
        reason = str(ended.get("reason") or "Error")
        return ContainerRow(name=name, look="failed", text=f"ended with exit code {code} ({reason})")
    waiting = state.get("waiting") or {}
    reason = str(waiting.get("reason") or "")
    if reason not in STUCK_REASONS:
        return None
    last = ((entry.get("lastState") or {}).get("terminated") or {}).get("exitCode")
    message = f"exit code {last}" if reason == "CrashLoopBackOff" else str(waiting.get("message") or "")
    return ContainerRow(name=name, look="failed", text=f"{reason}: {message}" if message else reason)


def _running_row(name: str, container: Document, entry: Document, event: Document) -> ContainerRow:
    again = int(entry.get("restartCount") or 0)
    restarts = f", restarted {again} {'time' if again == 1 else 'times'}" if again else ""
    if entry.get("ready") or (entry.get("started") and "readinessProbe" not in container and not restarts):
        return ContainerRow(name=name, look="ready", text=f"ready{restarts}")
    probe = "startup" if "startupProbe" in container and not entry.get("started") else "readiness"
    text = f"running{restarts}"
    if f"{probe}Probe" in container:
        text += f", waits for its {probe} probe"
        if event.get("reason") == "Unhealthy":
            text += f": {event.get('message', '')}"
    return ContainerRow(name=name, look="running", text=text)


def _row_by_event(container: Document, event: Document, pulls: Mapping[str, Document]) -> ContainerRow | None:
    name, image = str(container.get("name")), str(container.get("image") or "")
    reason = event.get("reason")
    if reason == "Pulling":
        return _pulling_row(name, image, pulls.get(normalize_ref(image)) or {})
    words = {"Pulled": "its image is here", "Created": "created", "Started": "started"}
    if reason not in words:
        return None
    return ContainerRow(name=name, look="waiting", text=words[str(reason)])


def _pulling_row(name: str, image: str, progress: Document) -> ContainerRow:
    done, total = int(progress.get("done_bytes") or 0), int(progress.get("total_bytes") or 0)
    layers, all_layers = int(progress.get("layers_done") or 0), int(progress.get("layers_total") or 0)
    phase = progress.get("phase")
    share = None
    text = f"pulling {image}"
    if phase == "unpacking" and all_layers:
        share, text = layers / all_layers, f"layer {layers} of {all_layers} unpacked  {image}"
    elif phase == "downloading" and total:
        share, text = min(done / total, 1.0), f"{format_bytes(done)} of {format_bytes(total)}  {image}"
    elif done:
        text = f"pulling {format_bytes(done)}  {image}"
    return ContainerRow(name=name, look="pulling", text=text, share=share)


def normalize_ref(image: str) -> str:
    """The reference as the image service names its pulls; as it is when it is none."""
    from podhost.api.image_refs import normalize
    from podhost.errors import InvalidError

    try:
        return str(normalize(image))
    except InvalidError:
        return image


def _waits_for(name: str, blocking: str, spec: Document, event: Document) -> str:
    if not spec.get("nodeName"):
        return "waits for a node"
    if blocking and blocking != name:
        return f"waits for the init container {blocking}"
    if event.get("type") == "Warning":
        return f"{event.get('reason')}: {event.get('message', '')}"
    return "waits for the pod's volumes and network"


# --- drawing ------------------------------------------------------------------------------------------------------


def draw_board(pods: Sequence[PodRows], style: BoardStyle) -> list[str]:
    """Lines of at most ``style.width - 1`` cells, at most ``style.height - 1`` of them."""
    longest = max((len(row.name) for pod in pods for row in pod.rows), default=0)
    name_width = min(longest, max(_NAME_MAX, style.width // 4), style.width // 3)
    pod_width = max((len(pod.name) for pod in pods), default=0)
    limit = max(style.height - 1, 1)
    for hide in (None, lambda pod: pod.is_settled, lambda pod: True):
        lines = list(_draw_pods(pods, name_width, pod_width, style, hide))
        if len(lines) <= limit:
            return lines
    shown = max(limit - 1, 0)
    return [*lines[:shown], cut_text(f"… and {len(lines) - shown} more pods", style.width - 1)]


def _draw_pods(pods: Sequence[PodRows], name_width: int, pod_width: int, style: BoardStyle, hide: Any) -> Iterator[str]:
    for pod in pods:
        with_rows = hide is None or not hide(pod)
        yield _draw_pod(pod, pod_width, style, alone=not with_rows)
        if with_rows:
            for row in pod.rows:
                yield _draw_row(row, name_width, style)


def _draw_pod(pod: PodRows, pod_width: int, style: BoardStyle, *, alone: bool) -> str:
    look = _VERDICT_LOOK.get(pod.verdict.state)
    seconds = f"{pod.elapsed_s:.1f} s" if pod.elapsed_s < 60 else format_age(pod.elapsed_s)
    if look is None:
        spinner = _SPINNER[style.ascii]
        mark, colour, text = spinner[style.frame % len(spinner)], "cyan", f"starting  {seconds}"
        # Without its containers below it, the pod says itself what it waits for.
        text += f"  {pod.verdict.text}" if alone and pod.verdict.text != "starting" else ""
    else:
        mark, colour = _MARKS[look][style.ascii], _COLOURS[look]
        text = pod.verdict.reason if pod.verdict.state == "stuck" else pod.verdict.text
        text = f"{'failed: ' if pod.verdict.state == 'failed' else ''}{text} after {seconds}"
    label = f"pod/{pod.name}".ljust(pod_width + 4)
    body = cut_text(f"{label}  {clean_text(text)}", style.width - 3, ascii=style.ascii)
    return f"{paint(mark, colour, enabled=style.colour)} {body}"


def _draw_row(row: ContainerRow, name_width: int, style: BoardStyle) -> str:
    mark = _MARKS[row.look][style.ascii]
    name = cut_text(row.name, name_width, ascii=style.ascii).ljust(name_width)
    left = style.width - 1 - 6 - name_width
    text = clean_text(row.text)
    if row.share is not None:
        text = f"{_draw_bar(row.share, left, style.ascii)} {text}"
    body = cut_text(text, max(left, 0), ascii=style.ascii)
    shown = body if row.look in ("ready", "pulling") else paint(body, _COLOURS[row.look], enabled=style.colour)
    return f"  {paint(mark, _COLOURS[row.look], enabled=style.colour)} {name}  {shown}"


def _draw_bar(share: float, left: int, ascii: bool) -> str:
    shortest, longest = _BAR_WIDTHS
    width = max(shortest, min(longest, left - 32))
    filled = int(share * width)
    if ascii:
        return f"[{'#' * filled}{'-' * (width - filled)}] {share:4.0%}"
    return f"{'█' * filled}{'░' * (width - filled)} {share:4.0%}"
