"""Definitions of the kinds that are not Kubernetes' own, for the OpenAPI documents: what is sent, in words.

They are PodStats and PodChannels of podhost, and those of ``metrics.k8s.io``, which on a cluster metrics-server brings.
"""

from __future__ import annotations

from collections.abc import Mapping

from podhost.api.descriptions import Descriptions
from podhost.api.pod_channels import POD_CHANNELS
from podhost.api.schema import Definition, Field, Type
from podhost.api.usage_kinds import USAGE_KINDS

_PREFIX = "dev.podhost.v1alpha1."
_METRICS_PREFIX = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_HEAD = {
    "apiVersion": ("string", "Group and version of the kind."),
    "kind": ("string", "Name of the kind."),
    "metadata": (_META, "Name, namespace and labels are those of the pod or node."),
}
_MEASURED = {
    "timestamp": ("time", "When it was measured."),
    "window": ("string", "Time over which averages were taken, such as 10s."),
}
_USAGE = ("{}quantity", "cpu: processors, an average over the window; memory: the working set.")
_TABLE: Mapping[str, tuple[str, Mapping[str, tuple[str, str]]]] = {
    "PodStats": (
        "What a pod uses, measured at the moment of the request. What the host does not count is absent.",
        {
            **_HEAD,
            **_MEASURED,
            "timestamp": ("microtime", "When it was measured."),
            "containers": ("[]ContainerStats", "Each running container."),
        },
    ),
    "ContainerStats": (
        "What a container uses.",
        {
            "name": ("string", "Name of the container."),
            "usage": _USAGE,
            "memory": ("MemoryStats", "Its memory."),
            "io": ("IOStats", "What it reads from block devices and writes to them."),
            "pids": ("int64", "Number of processes and threads."),
        },
    ),
    "MemoryStats": (
        "Memory of a container, by its cgroup.",
        {
            "usageBytes": ("int64", "All memory, caches included."),
            "workingSetBytes": ("int64", "All but inactive files: what evictions look at."),
            "rssBytes": ("int64", "Anonymous memory."),
            "pageFaults": ("int64", "Page faults so far."),
            "majorPageFaults": ("int64", "Page faults so far that had to read from a disk."),
        },
    ),
    "IOStats": (
        "Block devices as a container uses them, by its cgroup.",
        {
            "readBytes": ("int64", "Bytes read so far."),
            "writtenBytes": ("int64", "Bytes written so far."),
            "readBytesPerSecond": ("int64", "An average over the window."),
            "writtenBytesPerSecond": ("int64", "An average over the window."),
        },
    ),
    "PodMetrics": (
        "Processors and memory that a pod uses, measured at the moment of the request.",
        {**_HEAD, **_MEASURED, "containers": ("[]ContainerMetrics", "Each running container.")},
    ),
    "ContainerMetrics": (
        "Processors and memory that a container uses.",
        {"name": ("string", "Name of the container."), "usage": _USAGE},
    ),
    "NodeMetrics": (
        "Processors and memory in use on the node, measured at the moment of the request.",
        {**_HEAD, **_MEASURED, "usage": _USAGE},
    ),
    "PodChannels": (
        "How the containers of a pod talk with each other and with others, observed at the moment of the request.",
        {
            **_HEAD,
            "observedAt": ("microtime", "When it was observed."),
            "addresses": ("[]string", "Addresses of the pod."),
            "containers": ("[]ContainerNode", "Its containers and their processes."),
            "listeners": ("[]Listener", "Sockets that wait for others."),
            "channels": ("[]Channel", "Connections, IPC objects, pipes, shared volumes."),
            "problems": ("[]Problem", "What is wrong with the channels; errors first."),
            "gaps": ("[]string", "What could not be observed, and why."),
        },
    ),
    "ContainerNode": (
        "A container of the pod.",
        {
            "name": ("string", "Name of the container."),
            "state": ("string", "waiting, created, running, exited or unknown."),
            "pid": ("int64", "Its first process, as the host numbers it; absent when it does not run."),
            "processes": ("[]ProcessNode", "Its processes."),
        },
    ),
    "ProcessNode": (
        "A process of a container.",
        {
            "pid": ("int64", "Its number on the host."),
            "innerPid": ("int64", "Its number as the container sees it."),
            "parent": ("int64", "Its parent's number on the host; absent when the parent is outside the pod."),
            "name": ("string", "Its name."),
            "command": ("string", "Its command line, cut after 200 characters."),
        },
    ),
    "Listener": (
        "A socket that waits for others.",
        {
            "protocol": ("string", "tcp or udp."),
            "address": ("string", "The address that it is bound to."),
            "port": ("int64", "The port that it is bound to."),
            "container": ("string", "Who has it; absent when it is none of the pod's containers."),
            "pid": ("int64", "The process that has it, as the host numbers it."),
            "process": ("string", "Name of that process."),
            "portName": ("string", "Name of the containerPort."),
            "declared": ("bool", "Whether there is a containerPort for it."),
            "services": ("[]string", "Services that lead here, as namespace/name."),
        },
    ),
    "Channel": (
        "Something over which processes exchange data or signals.",
        {
            "id": ("string", "Identifies it in this object."),
            "kind": (
                "string",
                "tcp, udp, unix, sysv-queue, sysv-semaphores, sysv-shm, posix-queue, posix-shm, fifo, volume or "
                "pid-namespace.",
            ),
            "name": ("string", "Address, key, path or volume."),
            "summary": ("string", "Sizes, messages waiting, number of connections."),
            "facts": ("{}intorstring", "The same for programs."),
            "ends": ("[]End", "Who takes part."),
            "problems": ("[]string", "Codes of the problems that concern it."),
        },
    ),
    "End": (
        "One participant of a channel: a container of the pod, or a peer outside it.",
        {
            "container": ("string", "Name of the container."),
            "peer": ("string", "Name of the peer."),
            "role": ("string", "server, client, sender, receiver, writer, reader or user."),
            "detail": ("string", "Where a volume is mounted and how; what a process has open."),
            "processes": ("[]string", "Processes, as name[number on the host]."),
        },
    ),
    "Problem": (
        "Something that is wrong with the channels of a pod.",
        {
            "code": ("string", "Identifies the rule, such as port-in-use."),
            "severity": ("string", "error or warning."),
            "message": ("string", "What is wrong."),
            "evidence": ("[]string", "What was seen."),
            "suggestion": ("string", "What can be done."),
            "containers": ("[]string", "Containers that it concerns."),
            "channels": ("[]string", "Ids of the channels that it concerns."),
        },
    ),
}
"""By definition: its text, and for each field type and text.  ``[]`` is a list, ``{}`` a map."""
_METRICS = frozenset({"PodMetrics", "ContainerMetrics", "NodeMetrics"})
_KINDS = {kind.kind: (kind.group, kind.version, kind.kind) for kind in (*USAGE_KINDS, POD_CHANNELS)}


def _qualify(name: str) -> str:
    return (_METRICS_PREFIX if name in _METRICS else _PREFIX) + name


def _build_type(word: str) -> Type:
    if word[:2] in ("[]", "{}"):
        return Type("list" if word[0] == "[" else "map", item=_build_type(word[2:]))
    if word in _TABLE:
        return Type("ref", ref=_qualify(word))
    return Type("ref", ref=word) if "." in word else Type(word)


OWN_DEFINITIONS: Mapping[str, Definition] = {
    _qualify(name): Definition(
        _qualify(name), {key: Field(_build_type(word)) for key, (word, _) in fields.items()}, _KINDS.get(name)
    )
    for name, (_, fields) in _TABLE.items()
}
OWN_DESCRIPTIONS: Descriptions = {
    _qualify(name): {"": text} | {key: told for key, (_, told) in fields.items()}
    for name, (text, fields) in _TABLE.items()
}
