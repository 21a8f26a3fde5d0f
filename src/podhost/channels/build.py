"""From facts to the graph: ``build_graph`` is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from podhost.channels.attribution import Attribution, build_address_book
from podhost.channels.diagnosis import Findings, compute_problems
from podhost.channels.graph import Channel, ChannelGraph, ContainerNode, Problem, ProcessNode
from podhost.channels.ipc_channels import build_ipc_channels
from podhost.channels.network_channels import build_connections, build_listeners, build_unix_channels
from podhost.channels.snapshot import PodSnapshot
from podhost.channels.volume_channels import build_fifo_channels, build_pid_namespace, build_volume_channels

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """API objects that give names to what a pod talks to."""

    pods: tuple[Document, ...] = ()
    services: tuple[Document, ...] = ()
    host_addresses: tuple[str, ...] = ()
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Container → last lines of its log."""


def build_graph(snapshot: PodSnapshot, pod: Document, around: Surroundings, *, observed_at: str = "") -> ChannelGraph:
    """Containers, listeners, channels and problems of one pod."""
    who = Attribution(snapshot)
    book = build_address_book(around.pods, around.services, around.host_addresses)
    listeners = build_listeners(who, pod, around.services)
    channels = (
        *build_connections(who, book),
        *build_unix_channels(who),
        *build_ipc_channels(who),
        *build_volume_channels(who, pod),
        *build_fifo_channels(who),
        *build_pid_namespace(who, pod),
    )
    problems = compute_problems(
        Findings(
            pod=pod,
            services=around.services,
            snapshot=snapshot,
            listeners=listeners,
            channels=channels,
            logs=around.logs,
        )
    )
    return ChannelGraph(
        namespace=snapshot.target.namespace,
        name=snapshot.target.name,
        uid=snapshot.target.uid,
        observed_at=observed_at,
        addresses=tuple(str(entry["ip"]) for entry in (pod.get("status") or {}).get("podIPs") or ()),
        containers=tuple(_build_containers(snapshot)),
        listeners=listeners,
        channels=tuple(_mark(channel, problems) for channel in channels),
        problems=problems,
        gaps=snapshot.gaps,
    )


def _build_containers(snapshot: PodSnapshot) -> Iterable[ContainerNode]:
    by_container: dict[str, list[ProcessNode]] = {}
    for pid, (container, facts) in snapshot.processes.items():
        parent = facts.parent if facts.parent in snapshot.processes else 0
        node = ProcessNode(
            pid=pid, inner_pid=facts.inner_pid, parent=parent, name=facts.name, command=facts.command[:200]
        )
        by_container.setdefault(container, []).append(node)
    for each in snapshot.target.containers:
        processes = tuple(by_container.get(each.name, ()))
        yield ContainerNode(name=each.name, state=each.state, pid=each.pid, processes=processes)


def _mark(channel: Channel, problems: Iterable[Problem]) -> Channel:
    """The channel with the problems that speak of it."""
    codes = tuple(dict.fromkeys(problem.code for problem in problems if channel.id in problem.channels))
    return msgspec.structs.replace(channel, problems=codes) if codes else channel
