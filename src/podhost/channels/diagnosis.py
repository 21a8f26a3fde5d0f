"""What is wrong with a pod's channels: one pure function a rule, each with evidence and a suggestion.

A rule speaks only of what was seen.  Not seen from outside, and so left out: a reader that asks again and again for
a System V queue that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podhost.channels.graph import Channel, Listener, Problem
from podhost.channels.ipc_channels import format_key
from podhost.channels.network_channels import declared_ports, resolve_port, running_containers, service_targets
from podhost.channels.snapshot import PodSnapshot
from podhost.channels.volume_channels import WAITS, mounts_of, open_files_of
from podhost.channels.wanted_port import find_configured_ports, find_wanted_port
from podhost.linux.proc import OpenFile

Document = Mapping[str, Any]

_AGAIN_AND_AGAIN = 2
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_READ_ONLY = re.compile(r"read-only file system|EROFS", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that the rules look at."""

    pod: Document
    services: tuple[Document, ...]
    snapshot: PodSnapshot
    listeners: tuple[Listener, ...]
    channels: tuple[Channel, ...]
    logs: Mapping[str, tuple[str, ...]]
    """Container → its last lines."""

    def on(self, protocol: str, port: int) -> list[Listener]:
        return [each for each in self.listeners if (each.protocol, each.port) == (protocol, port)]

    def is_running(self, container: str) -> bool:
        return any(each.name == container and each.pid for each in self.snapshot.target.containers)


def compute_problems(given: Findings) -> tuple[Problem, ...]:
    """Errors first, in the order of the rules."""
    found = [problem for rule in RULES for problem in rule(given)]
    return tuple(sorted(found, key=lambda problem: problem.severity != "error"))


def _holder(listener: Listener) -> str:
    where = f'container "{listener.container}"' if listener.container else "a process outside the pod's containers"
    return f"{where} (process {listener.process or 'unknown'}, pid {listener.pid})"


def _shown(protocol: str, port: int) -> str:
    return f"{port}/{protocol.upper()}"


def find_port_held_by_another(given: Findings) -> Iterator[Problem]:
    """A container says that an address is in use, and another container has it."""
    for container in running_containers(given.pod):
        name = container["name"]
        wanted = find_wanted_port(given.logs.get(name, ()))
        holder = _find_holder(given, container, wanted[1]) if wanted else None
        if wanted is None or holder is None:
            continue
        yield Problem(
            code="port-in-use",
            severity="error",
            message=f'container "{name}" wants port {holder.port}, which {_holder(holder)} holds',
            evidence=(f"log of {name}: {wanted[0]}", f"{holder.endpoint} is held by {_holder(holder)}"),
            suggestion="containers of a pod share one network: give one of the two another port",
            containers=(name, holder.container),
        )


def _find_holder(given: Findings, container: Document, named: tuple[int, ...]) -> Listener | None:
    """Who has a port that the log names or the container declares, or else, in the pod, one that it is set up with."""
    name = container["name"]
    own = [port for (_, port), by in declared_ports(given.pod).items() if name in by]
    for port in dict.fromkeys((*named, *own, *find_configured_ports(container))):
        listeners = given.on("tcp", port)
        is_guess = port not in named and port not in own
        holders = [each for each in listeners if each.container or not is_guess]
        if holders and not any(each.container == name for each in listeners):
            return holders[0]
    return None


def find_ports_wanted_twice(given: Findings) -> Iterator[Problem]:
    """The same port is declared by two containers."""
    for (protocol, port), by in sorted(declared_ports(given.pod).items()):
        if len(by) < 2:
            continue
        names = ", ".join(f'"{name}"' for name in by)
        holders = given.on(protocol, port)
        yield Problem(
            code="port-wanted-twice",
            severity="error",
            message=f"port {_shown(protocol, port)} is declared by the containers {names}",
            evidence=tuple(f"{each.endpoint} is held by {_holder(each)}" for each in holders)
            or ("nobody holds it yet",),
            suggestion="containers of a pod share one network: only one of them can have the port",
            containers=tuple(by),
        )


def find_declared_ports_without_listener(given: Findings) -> Iterator[Problem]:
    """A containerPort on which nobody, or only another container, listens."""
    for (protocol, port), by in sorted(declared_ports(given.pod).items()):
        if protocol not in ("tcp", "udp") or len(by) > 1:
            continue
        name = next(iter(by))
        holders = given.on(protocol, port)
        if not given.is_running(name) or any(each.container == name for each in holders):
            continue
        shown = _shown(protocol, port)
        if holders:
            yield Problem(
                code="port-of-another-container",
                severity="warning",
                message=f'container "{name}" declares port {shown}, but {_holder(holders[0])} holds it',
                evidence=(f"{holders[0].endpoint} is held by {_holder(holders[0])}",),
                suggestion=f'declare the port at the container "{holders[0].container}"',
                containers=(name, holders[0].container),
            )
            continue
        own = [each for each in given.listeners if each.container == name]
        heard = ", ".join(f"{each.endpoint}/{each.protocol.upper()}" for each in own) or "no port at all"
        yield Problem(
            code="port-not-served",
            severity="warning",
            message=f'container "{name}" declares port {shown}, but nobody listens on it',
            evidence=(f"{name} listens on {heard}",),
            suggestion="correct containerPort, or make the program listen there",
            containers=(name,),
        )


def find_service_targets_unreachable(given: Findings) -> Iterator[Problem]:
    """A Service leads to a port that is served only on the loopback, or not at all."""
    if not any(each.pid for each in given.snapshot.target.containers):
        return
    for (protocol, port), names in sorted(service_targets(given.pod, given.services).items()):
        holders = given.on(protocol, port)
        leads = f"Service {', '.join(names)} leads to port {_shown(protocol, port)}"
        if not holders:
            yield Problem(
                code="service-target-not-served",
                severity="error",
                message=f"{leads}, but nobody listens on it",
                evidence=tuple(f"{e.endpoint}/{e.protocol.upper()} {_holder(e)}" for e in given.listeners[:5])
                or ("the pod has no listener at all",),
                suggestion="correct the Service's targetPort, or make the program listen there",
            )
        elif all(each.is_loopback for each in holders):
            yield Problem(
                code="service-target-on-loopback",
                severity="error",
                message=f"{leads}, which is served on the loopback only",
                evidence=tuple(f"{each.endpoint} is held by {_holder(each)}" for each in holders),
                suggestion="make the program listen on 0.0.0.0 (or on [::]); connections come to the pod's address",
                containers=tuple(dict.fromkeys(each.container for each in holders)),
            )


def find_probes_without_listener(given: Findings) -> Iterator[Problem]:
    """A probe asks a port that is not served where it asks."""
    for container in running_containers(given.pod):
        if not given.is_running(container["name"]):
            continue
        for kind in _PROBES:
            target = _probe_target(given.pod, container, container.get(kind) or {})
            if target is None:
                continue
            port, on_loopback = target
            holders = given.on("tcp", port)
            if holders and (on_loopback or not all(each.is_loopback for each in holders)):
                continue
            why = "which is served on the loopback only" if holders else "but nobody listens on it"
            yield Problem(
                code="probe-port-not-served",
                severity="error" if kind != "readinessProbe" else "warning",
                message=f'{kind} of container "{container["name"]}" asks port {port}, {why}',
                evidence=tuple(f"{each.endpoint} is held by {_holder(each)}" for each in holders)
                or (f"no TCP listener on port {port} in the pod",),
                suggestion="probes come to the pod's address: correct the probe's port, or listen on 0.0.0.0",
                containers=(container["name"],),
            )


def _probe_target(pod: Document, container: Document, probe: Document) -> tuple[int, bool] | None:
    """(port, asked on the loopback)."""
    for action in ("httpGet", "tcpSocket", "grpc"):
        asked = probe.get(action)
        if asked:
            port = resolve_port(pod, asked.get("port") or 0, container["name"])
            host = str(asked.get("host") or "")
            if host and host not in ("localhost", "::1") and not host.startswith("127."):
                return None  # it asks somebody else
            return (port, bool(host)) if port else None
    return None


def find_idle_queues(given: Findings) -> Iterator[Problem]:
    """A queue that fills without a receiver, or a receiver of a queue to which nobody has sent."""
    for channel in given.channels:
        if channel.kind not in ("sysv-queue", "posix-queue"):
            continue
        roles = {end.role for end in channel.ends}
        messages = int(channel.facts.get("messages", 0))
        names = tuple(dict.fromkeys(end.container for end in channel.ends if end.container))
        has_received = bool(channel.facts.get("lastReceiver"))
        if messages and not has_received and not roles & {"receiver", "user"}:
            yield Problem(
                code="queue-not-read",
                severity="warning",
                message=f"{channel.name} has messages waiting, and nobody receives them",
                evidence=(channel.summary,),
                suggestion="check that the receiver runs and uses the same key or name",
                containers=names,
                channels=(channel.id,),
            )
        waits = any(end.role == "receiver" for end in channel.ends)
        if waits and not messages and not roles & {"sender", "user"} and not channel.facts.get("lastSender"):
            yield Problem(
                code="queue-never-written",
                severity="warning",
                message=f"a receiver waits on {channel.name}, to which nobody has sent",
                evidence=(channel.summary, *(f"{end.container}: {' '.join(end.processes)}" for end in channel.ends)),
                suggestion="check that the sender runs and uses the same key or name",
                containers=names,
                channels=(channel.id,),
            )


_IPC_OBJECTS = {
    "msgget": "System V queue",
    "semget": "System V semaphores",
    "shmget": "System V memory",
    "mq_open": "POSIX queue",
}


def find_missing_ipc_objects(given: Findings) -> Iterator[Problem]:
    """A process that asks again and again for what nobody has made."""
    here = {each.name for each in given.channels}
    for missed in given.snapshot.missed:
        if missed.count < _AGAIN_AND_AGAIN or missed.pid not in given.snapshot.processes:
            continue
        container, process = given.snapshot.processes[missed.pid]
        wanted = f"{_IPC_OBJECTS[missed.call]} {missed.name or format_key(missed.key)}"
        if wanted in here:
            continue  # made while we watched
        yield Problem(
            code="ipc-object-missing",
            severity="warning",
            message=f'container "{container}" asks again and again for the {wanted}, which nobody has made',
            evidence=(
                f"{container}: {process.name} (pid {missed.pid}) called {missed.call} {missed.count} times: ENOENT",
            ),
            suggestion="check that the container which is to make it runs and uses the same key or name",
            containers=(container,),
        )


def find_fifos_with_one_end(given: Findings) -> Iterator[Problem]:
    """Somebody waits to open a FIFO whose other end nobody opens."""
    for channel in given.channels:
        waiting = [end for end in channel.ends if end.detail == WAITS]
        if channel.kind == "fifo" and waiting and len(waiting) == len(channel.ends):
            who = waiting[0]
            other = "writing" if who.role == "receiver" else "reading"
            yield Problem(
                code="fifo-without-partner",
                severity="warning",
                message=f'container "{who.container}" waits at {channel.name}, which nobody opens for {other}',
                evidence=(f"{who.container}: {' '.join(who.processes)} waits in open(2)",),
                suggestion="check that the other container runs, mounts the volume and uses the same path",
                containers=tuple(end.container for end in waiting),
                channels=(channel.id,),
            )


def find_volumes_for_nobody(given: Findings) -> Iterator[Problem]:
    """An emptyDir that a container writes and nobody else mounts."""
    spec = given.pod.get("spec") or {}
    for volume in spec.get("volumes") or ():
        if "emptyDir" not in volume and len(volume) > 1:
            continue
        everyone = [*(spec.get("initContainers") or ()), *running_containers(given.pod)]
        users = {
            container["name"]
            for container in everyone
            for mount in container.get("volumeMounts") or ()
            if mount["name"] == volume["name"]
        }
        if len(users) != 1:
            continue
        places = {(name, place) for name, place, _ in mounts_of(given.pod, volume["name"])}
        mount = next((m for m in given.snapshot.mounts if (m.container, m.mount_point) in places), None)
        if mount is None:
            continue
        written = [file.path for file in open_files_of(given.snapshot, mount) if file.writable]
        written += [f"{mount.mount_point}/{file.name}" for file in mount.files if file.kind == "file"]
        if written:
            yield Problem(
                code="volume-not-shared",
                severity="warning",
                message=f'volume "{volume["name"]}" is written by container "{mount.container}" only, '
                "and mounted nowhere else",
                evidence=tuple(dict.fromkeys(written))[:3],
                suggestion="mount it in the container that is to read it; as scratch space of one it is fine",
                containers=(mount.container,),
                channels=(f"volume:{volume['name']}",),
            )


def find_files_written_twice(given: Findings) -> Iterator[Problem]:
    """Two containers have the same file of a volume open for writing."""
    writers: dict[tuple[int, int], dict[str, OpenFile]] = {}
    for file in given.snapshot.files:
        if file.kind == "file" and file.writable and not file.path.startswith("/dev/shm/"):
            container = given.snapshot.processes[file.pid][0]
            writers.setdefault((file.device, file.inode), {})[container] = file
    queues = {(queue.device, queue.inode) for queue in given.snapshot.ipc.posix_queues}
    shared = {(file.device, file.inode) for file in given.snapshot.shm}
    volumes = _volumes_by_mount(given)
    for key, by in writers.items():
        if len(by) < 2 or key in queues or key in shared:
            continue
        names = " and ".join(f'"{name}"' for name in by)
        path = next(iter(by.values())).path
        yield Problem(
            code="file-written-twice",
            severity="warning",
            message=f"containers {names} have the same file open for writing: {path}",
            evidence=tuple(f"{name}: {file.path} by pid {file.pid}" for name, file in by.items()),
            suggestion="let one container write, or give each its own file; appends of both may mix",
            containers=tuple(by),
            channels=tuple(dict.fromkeys(volumes[f.mount_id] for f in by.values() if f.mount_id in volumes)),
        )


def _volumes_by_mount(given: Findings) -> dict[int, str]:
    """Mount id → id of the volume's channel."""
    ids = {(mount.container, mount.mount_point): mount.mount_id for mount in given.snapshot.mounts}
    return {
        ids[container, place]: f"volume:{volume['name']}"
        for volume in (given.pod.get("spec") or {}).get("volumes") or ()
        for container, place, _ in mounts_of(given.pod, volume["name"])
        if (container, place) in ids
    }


def find_read_only_writes(given: Findings) -> Iterator[Problem]:
    """A container complains in its log of a read-only file system, and mounts a volume so."""
    for container in running_containers(given.pod):
        name = container["name"]
        line = next((line for line in reversed(given.logs.get(name, ())) if _READ_ONLY.search(line)), None)
        read_only = [m for m in container.get("volumeMounts") or () if m.get("readOnly")]
        seen = {m.mount_point for m in given.snapshot.mounts if m.container == name and m.read_only}
        read_only += [
            m for m in container.get("volumeMounts") or () if m["mountPath"].rstrip("/") in seen and m not in read_only
        ]
        if line is None or not read_only:
            continue
        named = [m for m in read_only if m["mountPath"].rstrip("/") in line] or read_only
        mount = max(named, key=lambda m: len(m["mountPath"]))
        yield Problem(
            code="write-to-read-only-mount",
            severity="error",
            message=f'container "{name}" writes to {mount["mountPath"]}, '
            f'where volume "{mount["name"]}" is mounted read-only',
            evidence=(f"log of {name}: {line}",),
            suggestion="remove readOnly from the mount; for a configMap or secret, use an emptyDir instead",
            containers=(name,),
            channels=(f"volume:{mount['name']}",),
        )


RULES: tuple[Callable[[Findings], Iterator[Problem]], ...] = (
    find_port_held_by_another,
    find_ports_wanted_twice,
    find_declared_ports_without_listener,
    find_service_targets_unreachable,
    find_probes_without_listener,
    find_idle_queues,
    find_missing_ipc_objects,
    find_fifos_with_one_end,
    find_volumes_for_nobody,
    find_files_written_twice,
    find_read_only_writes,
)
