"""Where things go in a drawing: a lane for each container and one for all outside, a row for each channel.  Pure.

Terminal and SVG draw the same layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podhost.channels.graph import Channel, ChannelGraph, ContainerNode, Listener, ProcessNode

OUTSIDE = "outside"
_ARROW_ROLES = frozenset({"server", "receiver", "reader"})
_FOLDED_FROM = 4
_MAX_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A box with a line below it."""

    title: str
    lines: tuple[str, ...]
    is_outside: bool = False
    is_running: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a row meets a lane.  ``arrow``: the channel leads here."""

    lane: int
    arrow: bool
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    label: str
    marks: tuple[Mark, ...]
    """In the order of the lanes."""
    has_problem: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    title: str
    lanes: tuple[Lane, ...]
    rows: tuple[Row, ...]
    loose: tuple[str, ...]
    """Channels at which nobody was seen."""
    tree: tuple[tuple[int, str], ...] = ()
    """Depth and text of each process, where the containers share their process namespace."""


def build_layout(graph: ChannelGraph) -> Layout:
    """The drawing as data."""
    has_outside = any(_is_outside(graph, end.place) for channel in graph.channels for end in channel.ends)
    lanes = [_container_lane(graph, container) for container in graph.containers]
    if has_outside:
        lanes.append(Lane(title=OUTSIDE, lines=_shorten(list(graph.peers)), is_outside=True))
    index = {container.name: position for position, container in enumerate(graph.containers)}
    rows = tuple(_build_row(channel, index, len(lanes) - 1) for channel in graph.channels if channel.ends)
    loose = tuple(_label(channel) for channel in graph.channels if not channel.ends)
    shared = any(channel.kind == "pid-namespace" for channel in graph.channels)
    tree = tuple(_walk_processes(graph)) if shared else ()
    return Layout(title=build_title(graph), lanes=tuple(lanes), rows=rows, loose=loose, tree=tree)


def build_title(graph: ChannelGraph) -> str:
    """``pod default/mc3  10.0.0.5  2 containers, 5 processes, 2 channels, 1 problem``."""
    processes = sum(len(container.processes) for container in graph.containers)
    counts = (
        (len(graph.containers), "container"),
        (processes, "process"),
        (len(graph.channels), "channel"),
        (len(graph.problems), "problem"),
    )
    told = ", ".join(_count(number, noun) for number, noun in counts if number or noun != "problem")
    return "  ".join(part for part in (f"pod {graph.namespace}/{graph.name}", *graph.addresses, told) if part)


def describe_listener(listener: Listener) -> str:
    """``tcp *:80 http``."""
    text = f"{listener.protocol} {listener.endpoint}"
    return f"{text} {listener.port_name}" if listener.port_name else text


def describe_processes(container: ContainerNode) -> list[str]:
    """Names with how often they run."""
    counted = Counter(process.name for process in container.processes)
    return [name if count == 1 else f"{name} x{count}" for name, count in counted.most_common()]


def _walk_processes(graph: ChannelGraph) -> Iterator[tuple[int, str]]:
    """Children below their parents, whichever container they are of; many of a kind in one line."""
    children: dict[int, list[tuple[ProcessNode, str]]] = {}
    for container in graph.containers:
        for process in container.processes:
            children.setdefault(process.parent, []).append((process, container.name))
    twins = _find_twins(children)
    folded: set[int] = set()
    waiting = [(0, entry) for entry in reversed(children.get(0, []))]
    while waiting:
        depth, (process, name) = waiting.pop()
        if process.pid in folded:
            continue
        alike = [process, *twins.get(process.pid, [])]
        folded.update(twin.pid for twin in alike)
        command = process.command or process.name
        pids = f"{process.inner_pid}" if len(alike) == 1 else f"{process.inner_pid} … {alike[-1].inner_pid}"
        times = "" if len(alike) == 1 else f"  x{len(alike)}"
        yield depth, f"{pids} {command}{times}  ({name})"
        waiting += [(depth + 1, entry) for entry in reversed(children.get(process.pid, []))]


def _find_twins(children: Mapping[int, list[tuple[ProcessNode, str]]]) -> dict[int, list[ProcessNode]]:
    """By pid of the first: its siblings of the same command and container, where they are many; none has children."""
    twins: dict[int, list[ProcessNode]] = {}
    for siblings in children.values():
        groups: dict[tuple[str, str], list[ProcessNode]] = {}
        for process, name in siblings:
            if process.pid not in children:
                groups.setdefault((process.command or process.name, name), []).append(process)
        twins |= {group[0].pid: group[1:] for group in groups.values() if len(group) >= _FOLDED_FROM}
    return twins


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def _shorten(lines: list[str]) -> tuple[str, ...]:
    left = len(lines) - _MAX_SHOWN
    return (*lines[:_MAX_SHOWN], f"and {left} more") if left > 0 else tuple(lines)


def _container_lane(graph: ChannelGraph, container: ContainerNode) -> Lane:
    state = f"{container.state}, pid {container.pid}" if container.pid else container.state
    lines = [state, *_shorten(describe_processes(container))]
    mine = [each for each in graph.listeners if each.container == container.name]
    lines += _shorten([f"on {describe_listener(each)}" for each in mine])
    lines += _shorten([f"Service {name}" for name in dict.fromkeys(s for each in mine for s in each.services)])
    return Lane(title=container.name, lines=tuple(lines), is_running=bool(container.pid))


def _is_outside(graph: ChannelGraph, place: str) -> bool:
    return all(container.name != place for container in graph.containers)


def _label(channel: Channel) -> str:
    return f"{channel.name}  {channel.summary}" if channel.summary else channel.name


def _build_row(channel: Channel, index: dict[str, int], last: int) -> Row:
    marks: dict[int, Mark] = {}
    peers = [end.peer for end in channel.ends if end.peer]
    for end in channel.ends:
        lane = index.get(end.container, last) if end.container else last
        known = marks.get(lane)
        text = end.detail if known is None else ", ".join(part for part in (known.text, end.detail) if part)
        arrow = end.role in _ARROW_ROLES and (known is None or known.arrow)
        marks[lane] = Mark(lane=lane, arrow=arrow, text=text)
    label = _label(channel)
    if peers:
        label += f"  ({', '.join(dict.fromkeys(peers))})"
    ordered = tuple(marks[lane] for lane in sorted(marks))
    return Row(label=label, marks=ordered, has_problem=bool(channel.problems))
