"""Volumes, FIFOs in them and a shared process namespace as channels.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from podhost.channels.attribution import Attribution
from podhost.channels.graph import Channel, End
from podhost.channels.ipc_channels import format_size
from podhost.channels.network_channels import running_containers
from podhost.channels.snapshot import PodSnapshot, VolumeMount
from podhost.linux.proc import BlockedOpen, OpenFile

Document = Mapping[str, Any]
_MAX_NAMED_FILES = 3
WAITS = "waits for the other end"
"""What is said of an end that waits in open(2)."""


def build_volume_channels(who: Attribution, pod: Document) -> tuple[Channel, ...]:
    """Every volume that a container mounts, with who mounts it where and what is open in it."""
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if volume["name"].startswith("kube-api-access-"):
            continue
        ends = tuple(_ends_of(who, pod, volume["name"]))
        if ends:
            found.append(_build_volume(who, pod, volume["name"], kind, ends))
    return tuple(found)


def mounts_of(pod: Document, volume: str) -> list[tuple[str, str, bool]]:
    """(container, place, read-only) as the pod asks for it, running containers only."""
    return [
        (container["name"], mount["mountPath"].rstrip("/") or "/", bool(mount.get("readOnly")))
        for container in running_containers(pod)
        for mount in container.get("volumeMounts") or ()
        if mount["name"] == volume
    ]


def open_files_of(snapshot: PodSnapshot, mount: VolumeMount) -> list[OpenFile]:
    """What the mount's container has open through it, directories aside."""
    containers = snapshot.processes
    return [
        file
        for file in snapshot.files
        if file.mount_id == mount.mount_id and file.kind != "directory" and containers[file.pid][0] == mount.container
    ]


def _ends_of(who: Attribution, pod: Document, volume: str) -> Iterable[End]:
    observed = {(mount.container, mount.mount_point): mount for mount in who.snapshot.mounts}
    for container, place, read_only in mounts_of(pod, volume):
        mount = observed.get((container, place))
        files = open_files_of(who.snapshot, mount) if mount is not None else []
        written = [file for file in files if file.writable]
        is_read_only = mount.read_only if mount is not None else read_only
        role = "writer" if written else ("reader" if files or is_read_only else "user")
        detail = f"{place} {'ro' if is_read_only else 'rw'}"
        for verb, some in (("writes", written), ("reads", [file for file in files if not file.writable])):
            if some:
                detail += f", {verb} {_name_files(some)}"
        processes = who.name_processes([file.pid for file in files])
        yield End(
            container=container,
            role="writer" if role == "writer" else ("reader" if role == "reader" else "user"),
            detail=detail,
            processes=processes,
        )


def _name_files(files: list[OpenFile]) -> str:
    names = list(dict.fromkeys(file.path.rsplit("/", 1)[-1] for file in files))
    left = len(names) - _MAX_NAMED_FILES
    return " ".join(names[:_MAX_NAMED_FILES]) + (f" and {left} more" if left > 0 else "")


def _build_volume(who: Attribution, pod: Document, name: str, kind: str, ends: tuple[End, ...]) -> Channel:
    mounts = {(container, place) for container, place, _ in mounts_of(pod, name)}
    files = next((m.files for m in who.snapshot.mounts if (m.container, m.mount_point) in mounts and m.files), ())
    shown = [file for file in files if file.kind in ("file", "fifo", "socket")]
    summary = kind
    facts: dict[str, str | int] = {"type": kind}
    if shown:
        newest = max(shown, key=lambda file: file.modified_ns)
        facts |= {"files": len(shown), "newestFile": newest.name}
        summary += f", {len(shown)} file{'' if len(shown) == 1 else 's'}"
        if kind == "emptyDir":
            at = datetime.fromtimestamp(newest.modified_ns / 1e9, UTC).strftime("%H:%M:%S")
            summary += f", {newest.name} {format_size(newest.size_bytes)} written at {at}"
    return Channel(id=f"volume:{name}", kind="volume", name=f"volume {name}", summary=summary, facts=facts, ends=ends)


@dataclass(slots=True)
class _Fifo:
    path: str
    opened: list[OpenFile] = field(default_factory=list)
    waiting: list[BlockedOpen] = field(default_factory=list)


def build_fifo_channels(who: Attribution) -> tuple[Channel, ...]:
    """FIFOs in volumes: who has them open, who waits for the other end, also those that nobody uses."""
    found: dict[tuple[int, int], _Fifo] = {}
    places: dict[tuple[str, str], _Fifo] = {}
    for mount in who.snapshot.mounts:
        for file in mount.files:
            if file.kind == "fifo":
                path = f"{mount.mount_point}/{file.name}"
                places[mount.container, path] = found.setdefault((file.device, file.inode), _Fifo(path))
    for each in who.snapshot.files:
        if each.kind == "fifo":
            found.setdefault((each.device, each.inode), _Fifo(each.path)).opened.append(each)
    for blocked in who.snapshot.opening:
        fifo = places.get((who.container_of(blocked.pid), blocked.path))
        if fifo is not None:
            fifo.waiting.append(blocked)
    return tuple(_build_fifo(who, fifo) for fifo in sorted(found.values(), key=lambda fifo: fifo.path))


def _build_fifo(who: Attribution, fifo: _Fifo) -> Channel:
    opened = fifo.opened
    return Channel(
        id=f"fifo:{fifo.path}",
        kind="fifo",
        name=f"FIFO {fifo.path}",
        summary="" if opened else "nobody has it open",
        ends=(
            *who.end_of_pids([f.pid for f in opened if f.writable and not f.readable], "sender"),
            *who.end_of_pids([b.pid for b in fifo.waiting if b.writes], "sender", detail=WAITS),
            *who.end_of_pids([f.pid for f in opened if f.writable and f.readable], "user", detail="sends and receives"),
            *who.end_of_pids([f.pid for f in opened if f.readable and not f.writable], "receiver"),
            *who.end_of_pids([b.pid for b in fifo.waiting if not b.writes], "receiver", detail=WAITS),
        ),
    )


def build_pid_namespace(who: Attribution, pod: Document) -> tuple[Channel, ...]:
    """A shared process namespace: everyone sees and may signal everyone."""
    if not (pod.get("spec") or {}).get("shareProcessNamespace"):
        return ()
    ends = who.end_of_pids(who.snapshot.processes, "user")
    summary = f"{len(who.snapshot.processes)} processes see each other"
    name = "shared process namespace"
    return (Channel(id="pid-namespace", kind="pid-namespace", name=name, summary=summary, ends=ends),)
